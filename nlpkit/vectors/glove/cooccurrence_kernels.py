"""The inner loops of counting co-occurrences: integer sums, which no order of adding can change.

A row of the table is gathered in a dense array as wide as the vocabulary, which fits in the CPU's cache, so no pairs
are hashed or sorted: the neighbours of every occurrence of a word are added up, and then the touched columns are read
off in ascending order.

Shapes: V words, M positions of a block of the text, N cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import Bits, Ints, Longs, Longs2, helper, kernel
from nlpkit.machine.simd import prefetch

_AHEAD, _NEAR = 8, 8  # prefetch the text this many occurrences ahead, this many words to both sides
_ONE, _BITS, _TOP = np.uint64(1), np.uint64(63), np.uint64(58)
# The index of the only set bit of a 64-bit word: a de Bruijn sequence holds every pattern of six bits once, so
# multiplying it by the bit shifts a pattern to the top that belongs to this index alone.
_SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
_BIT_INDEX = np.zeros(64, np.int64)
for _bit in range(64):
    _BIT_INDEX[(0x03F79D71B4CB0A89 << _bit & (2**64 - 1)) >> 58] = _bit


@kernel
def by_word(text: Ints, first: int, last: int, starts: Longs, free: Longs, order: Ints) -> int:
    """The positions of every word in text[first:last].

    Fills ``order`` [last - first or more] with the positions, word after word, and ``starts`` [V + 1] with the index in
    it where each word begins. -1 in the text is a border between sentences, and no word. ``free`` [V] is workspace.
    Returns the number of positions.
    """
    vocab_size = len(starts) - 1
    for word in range(vocab_size + 1):
        starts[word] = 0
    for position in range(first, last):
        if text[position] >= 0:
            starts[text[position] + 1] += 1
    for word in range(vocab_size):
        starts[word + 1] += starts[word]
    for word in range(vocab_size):
        free[word] = starts[word]
    for position in range(first, last):
        word = text[position]
        if word >= 0:
            order[free[word]] = position
            free[word] += 1
    return int(starts[vocab_size])


@kernel
def gather(
    text: Ints,
    order: Ints,
    starts: Longs,
    first: int,
    last: int,
    weights: Longs,
    columns: Ints,
    values: Longs,
    sizes: Longs,
    sums: Longs,
    touched: Ints,
    marks: Bits,
    groups: Bits,
) -> int:
    """Rows first..last of the table of one block, from the diagonal on.

    ``weights[d]`` is the weight of a neighbour at distance d; a border (-1) ends a window, and one is at both ends of
    the text.

    Writes the cells row by row, columns ascending, and the number of cells of each row in ``sizes``. Returns the number
    of all cells. ``sums``, ``marks`` and ``groups`` are zero before and after.
    """
    done = 0
    for row in range(first, last):
        n_touched = 0
        for number in range(starts[row], starts[row + 1]):
            if number + _AHEAD < len(order):
                coming = np.intp(order[number + _AHEAD])
                prefetch(text, coming - _NEAR)
                prefetch(text, coming + _NEAR)
            for step in (-1, 1):
                position = order[number]
                for distance in range(1, len(weights)):
                    position += step
                    column = text[position]
                    if column < 0:
                        break
                    if column >= row:
                        before = sums[column]
                        touched[n_touched] = column  # counts if it is new, else the next column overwrites it
                        n_touched += before == 0
                        sums[column] = before + weights[distance]
        _emit(sums, touched, n_touched, marks, groups, columns, values, done)
        done += n_touched
        sizes[row - first] = n_touched
    return done


@kernel
def merge(
    offsets: Longs2,
    in_columns: Ints,
    in_values: Longs,
    columns: Ints,
    values: Longs,
    sizes: Longs,
    sums: Longs,
    touched: Ints,
    marks: Bits,
    groups: Bits,
) -> int:
    """Add up the same rows of several blocks; the cells of row i of block k begin at ``offsets[k, i]`` of
    ``in_columns``.

    Writes the cells row by row, columns ascending, and the number of cells of each row in ``sizes``. Returns the number
    of all cells. ``sums``, ``marks`` and ``groups`` are zero before and after.
    """
    blocks, rows = offsets.shape[0], offsets.shape[1] - 1
    done = 0
    for row in range(rows):
        n_touched = 0
        for block in range(blocks):
            for cell in range(offsets[block, row], offsets[block, row + 1]):
                column = in_columns[cell]
                touched[n_touched] = column
                n_touched += sums[column] == 0
                sums[column] += in_values[cell]
        _emit(sums, touched, n_touched, marks, groups, columns, values, done)
        done += n_touched
        sizes[row] = n_touched
    return done


@helper
def _emit(
    sums: Any, touched: Any, n_touched: int, marks: Any, groups: Any, columns: Any, values: Any, begin: int
) -> None:
    """Write the touched columns in ascending order with their sums, and zero sums, marks and groups again.

    A bit of ``marks`` is a column, a bit of ``groups`` is a 64-bit word of ``marks`` that is not zero.
    """
    for number in range(n_touched):
        column = touched[number]
        marks[column >> 6] |= _ONE << (np.uint64(column) & _BITS)
        groups[column >> 12] |= _ONE << (np.uint64(column >> 6) & _BITS)
    for group in range(len(groups)):
        words = groups[group]
        groups[group] = 0
        while words:
            lowest = words & (~words + _ONE)
            words ^= lowest
            word = group * 64 + _BIT_INDEX[np.int64(lowest * _SEQUENCE >> _TOP)]
            bits = marks[word]
            marks[word] = 0
            while bits:
                lowest = bits & (~bits + _ONE)
                bits ^= lowest
                column = word * 64 + _BIT_INDEX[np.int64(lowest * _SEQUENCE >> _TOP)]
                columns[begin] = column
                values[begin] = sums[column]
                sums[column] = 0
                begin += 1
