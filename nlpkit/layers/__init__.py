"""What models are made of."""

from nlpkit import portable

portable.settle()
