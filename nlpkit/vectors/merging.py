"""The end of a round of word2vec: what its units learnt becomes one, in an order that no thread has a part in.

A row belongs to the thread whose number is the row's modulo their number. Arguments are those of
`nlpkit.vectors.word2vec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.compiled import compiled
from nlpkit.simd import LANES, fma, load, splat, store, sub

_ONE = np.int64(1 << 32)  # uses of a row: units in the upper half, uses by windows in the lower


@compiled(inline="always")
def shrink(uses: Any, rate: Any) -> Any:
    """What the sum of k units' changes to a row is multiplied with.

    A row that is used often comes to rest within a unit: k units that saw the same beginning each bring it the whole
    way, and their sum would go k times too far; the mean is right. Of rarely used ones the sum is. If n steps, each of
    which takes the share c of the way, go n c / (1 + n c) of it, one unit after the other would go that far, and k
    units by themselves k times as far as n / k steps do; this is the quotient, with the learning rate for c.
    """
    units, steps = np.float32(uses >> 32), np.float32(uses & (_ONE - 1)) * rate
    return (np.float32(1) + steps / units) / (np.float32(1) + steps)


@compiled()
def merge(matrix: Any, width: int, local: Any, rows: Any, times: Any, sizes: Any, own: Any, uses: Any, thread: int,
          threads: int, rate: Any) -> None:  # fmt: skip
    """Put the rows that windows used back. ``uses``: a zero for each row of the matrix, before and after."""
    for u in range(len(sizes)):
        for s in range(sizes[u]):
            if rows[u, s] % threads == thread and times[u, s] > 0:
                uses[rows[u, s]] += _ONE + times[u, s]
    merged = 0
    for u in range(len(sizes)):
        mine = local[u]
        for s in range(sizes[u]):
            row = rows[u, s]
            if row % threads != thread or times[u, s] == 0:
                continue
            at, to, used = s * width, row * width, uses[row]
            if used >= 0 and used < 2 * _ONE:  # one unit's alone
                for c in range(0, width, LANES):
                    store(matrix, to + c, load(mine, at + c))
                uses[row] = 0
                continue
            if used >= 0:  # the first of several: the row as it was is kept for the others
                own.scales[merged] = shrink(used, rate)
                own.left[merged] = used >> 32
                for c in range(0, width, LANES):
                    store(own.merged, merged * width + c, load(matrix, to + c))
                merged += 1
                used = -merged
                uses[row] = used
            kept = -used - 1
            scale = splat(own.scales[kept])
            for c in range(0, width, LANES):
                change = sub(load(mine, at + c), load(own.merged, kept * width + c))
                store(matrix, to + c, fma(change, scale, load(matrix, to + c)))
            own.left[kept] -= 1
            if own.left[kept] == 0:
                uses[row] = 0


@compiled()
def merge_means(x: Any, plan: Any, buffers: Any, own: Any, uses: Any, thread: int, threads: int, rate: Any) -> None:
    """Inputs that are means of rows: each row moves as far as the mean did, so that the mean does
    (as fastText's program has it)."""
    width = plan.width
    for u in range(len(buffers.sizes)):
        for s in range(buffers.sizes[u, 0]):
            word = buffers.x_rows[u, s]
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                if plan.grams[g] % threads == thread:
                    uses[plan.grams[g]] += _ONE + buffers.x_uses[u, s]
    for u in range(len(buffers.sizes)):
        mine, before = buffers.x[u], buffers.before[u]
        for s in range(buffers.sizes[u, 0]):
            word, at = buffers.x_rows[u, s], s * width
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                row = plan.grams[g]
                if row % threads != thread:
                    continue
                scale, to = splat(shrink(uses[row], rate)), row * width
                for c in range(0, width, LANES):
                    change = sub(load(mine, at + c), load(before, at + c))
                    store(x, to + c, fma(change, scale, load(x, to + c)))
    for u in range(len(buffers.sizes)):
        for s in range(buffers.sizes[u, 0]):
            word = buffers.x_rows[u, s]
            for g in range(plan.gram_ends[word], plan.gram_ends[word + 1]):
                if plan.grams[g] % threads == thread:
                    uses[plan.grams[g]] = 0
