"""The end of a round of word2vec: what several units learnt of a row becomes one, in an order no thread has a part in.

Rows that one unit used have been trained where they are. Arguments are those of `nlpkit.vectors.word2vec.word2vec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import LANES, WIDE, add, fma, item, load, load16, put, splat, splat16, store, sub
from nlpkit.vectors.word2vec.rounds import UNITS

_ONE = np.int64(1 << 32)  # uses of a row: units in the upper half, uses by windows in the lower


@inlined
def shrink(units: Any, uses: Any, rate: Any) -> Any:
    """What the sum of k units' changes to a row is multiplied with.

    A row that is used often comes to rest within a unit: k units that saw the same beginning each bring it the whole
    way, and their sum would go k times too far; the mean is right. Of rarely used ones the sum is. If n steps, each of
    which takes the share c of the way, go n c / (1 + n c) of it, one unit after the other would go that far, and k
    units by themselves k times as far as n / k steps do; this is the quotient, with the learning rate for c.
    """
    steps = np.float32(uses) * rate
    return (np.float32(1) + steps / np.float32(units)) / (np.float32(1) + steps)


@helper
def merge(matrix: Any, width: int, first: int, own: Any, thread: int, threads: int, rate: Any) -> None:
    """Bring the copies of shared rows together. ``first``: the slot of the round's first unit. Every thread takes
    every so many-th row."""
    floats, holders, room = matrix.floats, own.holders, matrix.rows.shape[1]
    for slot in range(first, first + UNITS):
        for n in range(slot * room + thread, slot * room + matrix.sizes[slot, 1], threads):
            row, users, count, uses = item(matrix.shared, n) * width, item(matrix.sharers, n), 0, 0
            for u in range(UNITS):
                place = ((users >> (16 * u)) & 0xFFFF) - 1
                if place >= 0:
                    place += (first + u) * room
                    put(holders, count, item(matrix.at, place))
                    uses += item(matrix.uses, place)
                    count += 1
            scale = splat16(shrink(count, uses, rate))
            for c in range(0, width, WIDE):
                before, change = load16(floats, row + c), splat16(np.float32(0))
                for h in range(count):
                    change = add(change, sub(load16(floats, item(holders, h) + c), before))
                store(floats, row + c, fma(change, scale, before))


@helper
def merge_means(
    plan: Any, matrix: Any, units: Any, first: int, uses: Any, thread: int, threads: int, rate: Any
) -> None:
    """Inputs that are means of rows: each row moves as far as the mean did, so that the mean does
    (as fastText's program has it). A row belongs to the thread whose number is the row's modulo their number.
    ``uses``: a zero for each row, before and after."""
    width, x = plan.width, matrix.floats
    for slot in range(first, first + UNITS):
        for s in range(matrix.sizes[slot, 0]):
            word = matrix.rows[slot, s]
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                if plan.grams[g] % threads == thread:
                    uses[plan.grams[g]] += _ONE + matrix.uses[slot, s]
    for slot in range(first, first + UNITS):
        before = units.before[slot % UNITS]
        for s in range(matrix.sizes[slot, 0]):
            word, at = matrix.rows[slot, s], matrix.at[slot, s]
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                row = plan.grams[g]
                if row % threads != thread:
                    continue
                scale, to = splat(shrink(uses[row] >> 32, uses[row] & (_ONE - 1), rate)), row * width
                for c in range(0, width, LANES):
                    change = sub(load(x, at + c), load(before, s * width + c))
                    store(x, to + c, fma(change, scale, load(x, to + c)))
    for slot in range(first, first + UNITS):
        for s in range(matrix.sizes[slot, 0]):
            word = matrix.rows[slot, s]
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                if plan.grams[g] % threads == thread:
                    uses[plan.grams[g]] = 0
