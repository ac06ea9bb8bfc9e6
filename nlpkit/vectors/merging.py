"""The end of a round of word2vec: what its units learnt becomes one, in an order that no thread has a part in.

A row belongs to the thread whose number is the row's modulo their number. Arguments are those of
`nlpkit.vectors.word2vec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.compiled import compiled
from nlpkit.simd import LANES, WIDE, add, fma, item, load, load16, put, splat, splat16, store, sub

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
    """Put the rows that windows used back. ``uses``: a zero for each row of the matrix, before and after; between, how
    often a row is used, and then, of one that several units used, -1 - its number among those."""
    size = local.shape[1]
    for u in range(len(sizes)):
        for at in range(u * rows.shape[1], u * rows.shape[1] + sizes[u]):
            row, used = item(rows, at), item(times, at)
            if used > 0 and (threads == 1 or row % threads == thread):
                put(uses, row, item(uses, row) + _ONE + used)
    shared = 0
    for u in range(len(sizes)):
        for s in range(sizes[u]):
            row = item(rows, u * rows.shape[1] + s)
            if item(times, u * rows.shape[1] + s) == 0 or (threads > 1 and row % threads != thread):
                continue
            mine, used = u * size + s * width, item(uses, row)
            if used >= 2 * _ONE:  # the first of several
                own.shared[shared], own.scales[shared], own.holders[shared, 0] = row, shrink(used, rate), 0
                shared += 1
                used = -shared
            if used < 0:
                own.holders[-used - 1, 0] += 1
                own.holders[-used - 1, own.holders[-used - 1, 0]] = mine
                put(uses, row, used)
                continue
            put(uses, row, np.int64(0))
            for c in range(0, width, WIDE):
                store(matrix, row * width + c, load16(local, mine + c))
    for n in range(shared):
        row, scale = own.shared[n] * width, splat16(own.scales[n])
        uses[own.shared[n]] = 0
        holders = own.holders[n]
        for c in range(0, width, WIDE):
            before, change = load16(matrix, row + c), splat16(np.float32(0))
            for h in range(1, item(holders, 0) + 1):
                change = add(change, sub(load16(local, item(holders, h) + c), before))
            store(matrix, row + c, fma(change, scale, before))


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
