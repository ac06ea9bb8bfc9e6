"""The rows of a matrix that the units of a round of word2vec use, and their addresses.

A row that a single unit of the round uses is trained in place. For a row that several units use, each of them has a
copy behind the matrix, and `nlpkit.vectors.word2vec.merging` combines the copies. Which units use a row is known before
any row is read. The local index of a row is its index among the rows of one unit. Arguments are those of
`nlpkit.vectors.word2vec.word2vec`; ``slot`` and ``unit`` are the unit's number modulo SLOTS and UNITS. Local indices
are stored for two rounds, since one is prepared while the other trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import LANES, WIDE, add, item, load, load16, mul, prefetch, put, splat, store, touch
from nlpkit.vectors.word2vec.rounds import SLOTS, UNITS

_AHEAD = 8  # rows are prefetched this many rows ahead
_LINE = 16  # floats of a cache line


@inlined
def local_base(matrix: Any, number: Any) -> Any:
    """The offset of unit ``number`` in ``matrix.local``; the entry of row n is n * UNITS further."""
    return number // UNITS % 2 * (len(matrix.local) // 2) + number % UNITS


@inlined
def find(matrix: Any, first: Any, at: Any, row: Any, times: Any, size: Any) -> Any:
    """The local index of a row, which is added if it is new, and the number of the unit's rows. ``first``: the offset
    of the unit's rows; ``at``: its `local_base`. No branch: half of the rows are new, and no CPU predicts which."""
    local = np.int64(item(matrix.local, at + row * UNITS))
    new = local == 0
    local = size if new else local - 1
    used = 0 if new else item(matrix.uses, first + local)
    put(matrix.local, at + row * UNITS, np.uint16(local + 1))
    put(matrix.rows, first + local, np.int64(row))
    put(matrix.uses, first + local, np.int64(used + times))
    return local, size + new


@helper
def forget(matrix: Any, number: int) -> None:
    """Clear the local indices of unit ``number``."""
    slot, at = number % SLOTS, local_base(matrix, number)
    first = slot * matrix.rows.shape[1]
    for s in range(first, first + matrix.sizes[slot, 0]):
        put(matrix.local, at + item(matrix.rows, s) * UNITS, np.uint16(0))


@helper
def fetch(matrix: Any, number: int, width: int) -> None:
    """Set the addresses of the rows of unit ``number``: in the matrix if no other unit of the round uses the row, else
    in a copy. All rows are read, so that they are in the cache."""
    floats, capacity, slot, unit = matrix.floats, matrix.rows.shape[1], number % SLOTS, number % UNITS
    users_base = local_base(matrix, number) // UNITS
    first, free, shared = slot * capacity, matrix.copies + unit * capacity * width, slot * capacity
    end = first + matrix.sizes[slot, 0]
    for s in range(first, end):
        if s + _AHEAD < end:
            for c in range(0, width, _LINE):
                prefetch(floats, item(matrix.rows, s + _AHEAD) * width + c)
        if item(matrix.uses, s) == 0:
            continue
        row = item(matrix.rows, s)
        users, at = item(matrix.users, users_base + row), row * width
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
    """Compute inputs that are means: of the row of a word and those of its n-grams (Bojanowski et al. 2017, 3.2)."""
    width, x = plan.width, matrix.floats
    for s in range(matrix.sizes[slot, 0]):
        word, to = matrix.rows[slot, s], s * width
        begin, end = plan.gram_ends[word], plan.gram_ends[word + 1]
        at = matrix.copies + unit * matrix.rows.shape[1] * width + to
        matrix.at[slot, s] = at
        weight = splat(np.float32(1) / np.float32(end - begin))
        for c in range(0, width, LANES):
            total = splat(np.float32(0))
            for g in range(begin, end):
                total = add(total, load(x, plan.grams[g] * width + c))
            store(x, at + c, mul(total, weight))
            store(before, to + c, mul(total, weight))


@inlined
def resolve(indices: Any, begin: int, end: int, at: Any, first: int) -> None:
    """Replace local indices by the addresses of their rows."""
    for i in range(begin, end):
        put(indices, i, item(at, first + item(indices, i)))
