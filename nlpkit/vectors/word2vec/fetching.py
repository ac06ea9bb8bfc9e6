"""Which rows of a matrix the units of a round of word2vec use, and where each of them has them.

A row that one unit of the round uses is trained where it is. One that several use has a copy in each, behind the
matrix, and `nlpkit.vectors.word2vec.merging` makes one of them. Who uses what is known before any of them is read.
Arguments are those of `nlpkit.vectors.word2vec.word2vec`; ``slot`` and ``unit`` are the unit's number modulo SLOTS and
UNITS. Places are known of two rounds, since one is made ready while the other trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import LANES, WIDE, add, item, load, load16, mul, prefetch, put, splat, store, touch
from nlpkit.vectors.word2vec.rounds import SLOTS, UNITS

_AHEAD = 8  # rows: so early they are asked for
_LINE = 16  # floats that come from memory together


@inlined
def places(matrix: Any, number: Any) -> Any:
    """Where the places of unit ``number`` of the text begin; that of row n is n * UNITS further."""
    return number // UNITS % 2 * (len(matrix.places) // 2) + number % UNITS


@inlined
def find(matrix: Any, first: Any, at: Any, row: Any, times: Any, size: Any) -> Any:
    """The place of a row among a unit's, and how many rows there are now. ``first``: where the unit's begin; ``at``
    is what `places` says. No branch: half of the rows are new, and no processor foresees which."""
    place = np.int64(item(matrix.places, at + row * UNITS))
    new = place == 0
    place = size if new else place - 1
    used = 0 if new else item(matrix.uses, first + place)
    put(matrix.places, at + row * UNITS, np.uint16(place + 1))
    put(matrix.rows, first + place, np.int64(row))
    put(matrix.uses, first + place, np.int64(used + times))
    return place, size + new


@helper
def forget(matrix: Any, number: int) -> None:
    """No row has a place in unit ``number`` any more."""
    slot, at = number % SLOTS, places(matrix, number)
    first = slot * matrix.rows.shape[1]
    for s in range(first, first + matrix.sizes[slot, 0]):
        put(matrix.places, at + item(matrix.rows, s) * UNITS, np.uint16(0))


@helper
def fetch(matrix: Any, number: int, width: int) -> None:
    """Say where the rows of unit ``number`` are: in the matrix if no other unit of the round uses them, else in a copy.
    All are read, so that they are near."""
    floats, room, slot, unit = matrix.floats, matrix.rows.shape[1], number % SLOTS, number % UNITS
    others = places(matrix, number) // UNITS
    first, free, shared = slot * room, matrix.copies + unit * room * width, slot * room
    end = first + matrix.sizes[slot, 0]
    for s in range(first, end):
        if s + _AHEAD < end:
            for c in range(0, width, _LINE):
                prefetch(floats, item(matrix.rows, s + _AHEAD) * width + c)
        if item(matrix.uses, s) == 0:
            continue
        row = item(matrix.rows, s)
        users, at = item(matrix.users, others + row), row * width
        if users & ~(np.int64(0xFFFF) << (16 * unit)) == 0:
            put(matrix.at, s, at)
            for c in range(0, width, _LINE):
                touch(floats, at + c)
            continue
        if users & ((np.int64(1) << (16 * unit)) - 1) == 0:
            put(matrix.shared, shared, row)
            put(matrix.sharers, shared, users)
            shared += 1
        put(matrix.at, s, free)
        for c in range(0, width, WIDE):
            store(floats, free + c, load16(floats, at + c))
        free += width
    matrix.sizes[slot, 1] = shared - first


@helper
def fetch_means(plan: Any, matrix: Any, before: Any, slot: int, unit: int) -> None:
    """Read inputs that are means: of a word's own row and those of its n-grams (Bojanowski et al. 2017, 3.2)."""
    width, x = plan.width, matrix.floats
    for s in range(matrix.sizes[slot, 0]):
        word, to = matrix.rows[slot, s], s * width
        begin, end = plan.gram_ends[word], plan.gram_ends[word + 1]
        at = matrix.copies + unit * matrix.rows.shape[1] * width + to
        matrix.at[slot, s] = at
        share = splat(np.float32(1) / np.float32(end - begin))
        for c in range(0, width, LANES):
            total = splat(np.float32(0))
            for g in range(begin, end):
                total = add(total, load(x, plan.grams[g] * width + c))
            store(x, at + c, mul(total, share))
            store(before, to + c, mul(total, share))


@inlined
def found(places: Any, begin: int, end: int, at: Any, first: int) -> None:
    """Places of rows among a unit's become where they are."""
    for i in range(begin, end):
        put(places, i, item(at, first + item(places, i)))
