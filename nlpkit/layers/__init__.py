"""What models are made of."""

from nlpkit.machine import portable

portable.settle()
