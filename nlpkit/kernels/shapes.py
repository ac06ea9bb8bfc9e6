"""How large tiles, panels and blocks are, which depends on the level that kernels are compiled for."""

from __future__ import annotations

from nlpkit.machine import level

ROWS = 6  # that the largest tile computes at once; more would not fit in the registers
# Columns of a panel: as many as tiles are wide. With AVX-512 there are twice as many registers, twice as wide.
PANEL = 64 if level.chosen().wide else 16
WHOLE = 64  # rows that are rounded before they are multiplied with weights of 8 bits
EIGHT = level.has_int8_products()  # whether there are instructions for products of 8 bits

# Of products in training.
BLOCK = 512  # steps of the depth after which the next rows are taken
HIGH = 192  # rows that are multiplied with one panel after the other
NORM_ROWS = 64  # rows whose part of a norm's weight gradient is summed by one thread

# Of attention in training.
QUERIES = 72  # that are looked at together, a multiple of the rows of a tile
KEYS = 64  # of a block of scores in the backward pass; a tile may be as wide
DEEP = 128  # keys whose values are mixed at once: they stay in the cache
FILLED = 16 if PANEL > 16 else 8  # a head is filled up to a multiple of this, with zeros
PARTS = 9  # numbers that say what a sequence is
LOWEST = -1e30  # a score that is never seen; a number, so that what is none can be told from it
