"""The end of a round of word2vec: the copies of a row that several units trained are merged, in an order that does not
depend on threads.

Rows that a single unit used were trained in place. Arguments are those of `nlpkit.vectors.word2vec.word2vec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import LANES, WIDE, add, fma, item, load, load16, put, splat, splat16, store, sub
from nlpkit.vectors.word2vec.rounds import UNITS

_ONE = np.int64(1 << 32)  # uses of a row: the number of units in the upper 32 bits, of windows in the lower


@inlined
def shrink(units: Any, uses: Any, rate: Any) -> Any:
    """The factor for the sum of the changes of k units to a row.

    A frequently used row converges within a unit: each of k units that start from the same value moves it the whole
    way, so that their sum would go k times too far, and the mean is right. For rarely used rows the sum is right.
    Suppose that n steps, each of which moves by the fraction c, cover n c / (1 + n c) of the way. Units one after the
    other would cover that, and k independent units cover k times the way of n / k steps; the factor is the quotient,
    with the learning rate for c.
    """
    steps = np.float32(uses) * rate
    return (np.float32(1) + steps / np.float32(units)) / (np.float32(1) + steps)


@helper
def merge(matrix: Any, width: int, first: int, scratch: Any, thread: int, threads: int, rate: Any) -> None:
    """Merge the copies of shared rows. ``first``: the slot of the round's first unit. Thread i of n takes every n-th
    row from row i on."""
    floats, holders, capacity = matrix.floats, scratch.holders, matrix.rows.shape[1]
    for slot in range(first, first + UNITS):
        for n in range(slot * capacity + thread, slot * capacity + matrix.sizes[slot, 1], threads):
            row, users, count, uses = item(matrix.shared, n) * width, item(matrix.sharers, n), 0, 0
            for u in range(UNITS):
                local = ((users >> (16 * u)) & 0xFFFF) - 1
                if local >= 0:
                    local += (first + u) * capacity
                    put(holders, count, item(matrix.at, local))
                    uses += item(matrix.uses, local)
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
    (as fastText's program has it). A row belongs to the thread with the index row % threads.
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
