"""The inner loops of counting co-occurrences: sums of whole numbers, so that no order of adding can change one.

A row of the table is gathered in a dense array as wide as the vocabulary, which a processor's cache holds, so no
hashing and no sorting of pairs is needed: for every place of a word in the text its neighbours are added up, and then
the columns that were touched are read off in their order.

Shapes: V words, M places of a block of the text, N cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import Bits, Ints, Longs, Longs2, helper, kernel
from nlpkit.machine.simd import prefetch

_AHEAD, _NEAR = 8, 8  # so many places before it is needed text is asked for, so many words before and behind
_ONE, _BITS, _TOP = np.uint64(1), np.uint64(63), np.uint64(58)
# The place of a word's only bit: a de Bruijn sequence has every pattern of six bits once, so multiplying by the bit
# brings one of them to the top that no other place brings there.
_SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
_PLACE = np.zeros(64, np.int64)
for _place in range(64):
    _PLACE[(0x03F79D71B4CB0A89 << _place & (2**64 - 1)) >> 58] = _place


@kernel
def by_word(text: Ints, first: int, last: int, starts: Longs, free: Longs, order: Ints) -> int:
    """The places of every word in text[first:last].

    ``order`` [M] has those of one word behind those of the other, ``starts`` [V + 1] where in it each word begins.
    -1 in the text is a border between sentences, and no word. ``order`` has room for last - first, ``free`` for V.
    Returns how many places there are.
    """
    vocab_size = len(starts) - 1
    for word in range(vocab_size + 1):
        starts[word] = 0
    for place in range(first, last):
        if text[place] >= 0:
            starts[text[place] + 1] += 1
    for word in range(vocab_size):
        starts[word + 1] += starts[word]
    for word in range(vocab_size):
        free[word] = starts[word]
    for place in range(first, last):
        word = text[place]
        if word >= 0:
            order[free[word]] = place
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
    """Rows first..last of the table of one block, above the diagonal and on it.

    ``weights[d]`` is what a neighbour at distance d counts; borders (-1) end a window, and stand at both ends of the
    text.

    Writes the cells row by row, columns rising, and in ``sizes`` how many each row has. Returns how many there are.
    ``sums``, ``marks`` and ``groups`` are zeros, and are left so.
    """
    done = 0
    for row in range(first, last):
        found = 0
        for number in range(starts[row], starts[row + 1]):
            if number + _AHEAD < len(order):
                coming = np.intp(order[number + _AHEAD])
                prefetch(text, coming - _NEAR)
                prefetch(text, coming + _NEAR)
            for step in (-1, 1):
                place = order[number]
                for distance in range(1, len(weights)):
                    place += step
                    column = text[place]
                    if column < 0:
                        break
                    if column >= row:
                        before = sums[column]
                        touched[found] = column  # stands if it is new, else the next one overwrites it
                        found += before == 0
                        sums[column] = before + weights[distance]
        _emit(sums, touched, found, marks, groups, columns, values, done)
        done += found
        sizes[row - first] = found
    return done


@kernel
def merge(
    offsets: Longs2,
    given_columns: Ints,
    given_values: Longs,
    columns: Ints,
    values: Longs,
    sizes: Longs,
    sums: Longs,
    touched: Ints,
    marks: Bits,
    groups: Bits,
) -> int:
    """Add up the same rows of several blocks; the cells of row i of block k begin at ``offsets[k, i]`` of those given.

    Writes the cells row by row, columns rising, and in ``sizes`` how many each row has. Returns how many there are.
    ``sums``, ``marks`` and ``groups`` are zeros, and are left so.
    """
    blocks, rows = offsets.shape[0], offsets.shape[1] - 1
    done = 0
    for row in range(rows):
        found = 0
        for block in range(blocks):
            for cell in range(offsets[block, row], offsets[block, row + 1]):
                column = given_columns[cell]
                touched[found] = column
                found += sums[column] == 0
                sums[column] += given_values[cell]
        _emit(sums, touched, found, marks, groups, columns, values, done)
        done += found
        sizes[row] = found
    return done


@helper
def _emit(sums: Any, touched: Any, found: int, marks: Any, groups: Any, columns: Any, values: Any, begin: int) -> None:
    """Write the touched columns in their order with their sums, and make sums, marks and groups zero again.

    A bit of ``marks`` is a column, a bit of ``groups`` a word of marks that is not zero.
    """
    for number in range(found):
        column = touched[number]
        marks[column >> 6] |= _ONE << (np.uint64(column) & _BITS)
        groups[column >> 12] |= _ONE << (np.uint64(column >> 6) & _BITS)
    for group in range(len(groups)):
        words = groups[group]
        groups[group] = 0
        while words:
            lowest = words & (~words + _ONE)
            words ^= lowest
            word = group * 64 + _PLACE[np.int64(lowest * _SEQUENCE >> _TOP)]
            bits = marks[word]
            marks[word] = 0
            while bits:
                lowest = bits & (~bits + _ONE)
                bits ^= lowest
                column = word * 64 + _PLACE[np.int64(lowest * _SEQUENCE >> _TOP)]
                columns[begin] = column
                values[begin] = sums[column]
                sums[column] = 0
                begin += 1
