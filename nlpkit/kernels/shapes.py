"""Sizes of tiles, panels and blocks, which depend on the level that kernels are compiled for."""

from __future__ import annotations

from nlpkit.machine import level

ROWS = 6  # of the largest tile; more would not fit in the registers
# Columns of a panel, and of the widest tile. AVX-512 has twice as many registers, twice as wide.
PANEL = 64 if level.chosen().wide else 16
INT8_ROWS = 64  # rows that are quantised at once before they are multiplied with int8 weights
INT8_PRODUCTS = level.has_int8_products()  # whether libraries may use the CPU's int8 dot products

# Of products in training.
BLOCK = 512  # steps of the depth that are multiplied before the next rows
TALL = 192  # rows that are multiplied with one panel after the other
NORM_ROWS = 64  # rows whose part of a norm's weight gradient one thread sums

# Of attention in training.
QUERIES = 72  # of a block, a multiple of the rows of a tile
KEYS = 64  # of a block, at least as many as a tile is wide
VALUES = 128  # that are added to the output at once: they stay in the cache
PAD = 16 if PANEL > 16 else 8  # the width of a head is padded with zeros to a multiple of this
FIELDS = 14  # numbers that describe a sequence
MASKED = -1e30  # finite, so that a NaN can still be told from a masked score
