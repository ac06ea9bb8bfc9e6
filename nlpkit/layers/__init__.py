"""The modules that models are built of."""

from nlpkit.machine import portable

portable.settle()
