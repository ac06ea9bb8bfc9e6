"""The attention of training, compiled: softmax(q k^T scale + mask + bias) v inside of each sequence, and its gradients.

A unit of work is one head of keys of one sequence, with all heads of queries that share it (Ainslie et al. 2023,
"GQA", section 2.2). A thread copies what it reads into its workspace: `QUERIES` queries at once, keys and values of the
whole sequence, transposed in blocks of `KEYS` where a product needs that. Of the scores only each row's maximum and the
inverse of its sum are saved; the backward pass recomputes them (Dao et al. 2022, FlashAttention, section 3.1), one
block of queries and keys after the other:

    forward                      keys 0 .. T                 backward         keys of a block
                   +-----------------------------+                            +-------+
    QUERIES rows   | scores -> weights           | x v      QUERIES rows      | dS, P |  dq += dS k
                   +-----------------------------+                            +-------+  dk += dS^T q, dv += P^T dout

Every number of a result is one written sum of IEEE operations (nlpkit/kernels/tile.py), in the order of the width, the
keys or the queries, whatever the number of threads, the CPU or the size of a block. `nlpkit.kernels.attention` calls
these.

Shapes: N tokens, A queries, H heads, K heads of keys and values, W width of a head, P that padded to a multiple of
`PAD`, T keys of a sequence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.attention_rows import (
    add_gradient,
    add_mask,
    bias_of,
    copy_rows,
    fill_zeros,
    mask_of,
    row_dots,
    scale_row,
    sequence_of,
    softmax,
    softmax_gradient,
    write_bounds,
)
from nlpkit.kernels.attention_tiles import ALL, add_product, add_transposed_product, multiply, pack_rows_transposed
from nlpkit.kernels.shapes import KEYS, MASKED, PAD, QUERIES, ROWS, VALUES
from nlpkit.machine.kernel import FloatsAt, LongsAt, inlined, kernel
from nlpkit.machine.simd import LANES, WIDE, item, put


@kernel
def forward(
    q_: FloatsAt,
    k_: FloatsAt,
    v_: FloatsAt,
    mask_: FloatsAt,
    bias_: FloatsAt,
    units_: LongsAt,
    out_: FloatsAt,
    stats_: FloatsAt,
    work_: FloatsAt,
    scale: float,
    all_queries: int,
    heads: int,
    kv_heads: int,
    width: int,
    begin: int,
    end: int,
    parts: int,
) -> int:
    """The units begin, begin + parts, .. of each part up to ``end``; a unit is a head of keys of a sequence.

    units [1 + sequences, FIELDS]: the first row has the number of sequences, each other row a sequence's first key,
    number of keys, whether causal (the last query sees all keys, each one before it one fewer), whether there is a
    mask, its offset, the strides of its heads and queries, the first query, the number of queries, whether there is a
    bias, its offset, the strides of its heads and queries, and the offset of its gradient. q and out [A, H W], where A
    is ``all_queries``, k and v [N, K W]; stats [2, H, A] gets the maximum score and 1 / the sum.
    """
    numbers = np.float32(scale), all_queries, heads, kv_heads, width
    for part in range(begin, end):
        unit = part
        while unit < item(units_, 0) * kv_heads:
            sequence = sequence_of(units_, unit, kv_heads)
            _forward_unit(q_, k_, v_, mask_, bias_, units_, out_, stats_, work_, numbers, sequence, unit)
            unit += parts
    return 0


@inlined
def _forward_unit(
    q_: Any,
    k_: Any,
    v_: Any,
    mask_: Any,
    bias_: Any,
    units_: Any,
    out_: Any,
    stats_: Any,
    work_: Any,
    numbers: Any,
    sequence: Any,
    unit: int,
) -> None:
    """A head of keys of a sequence."""
    factor, all_queries, heads, kv_heads, width = numbers
    start, length, causal, first, count = sequence
    model, few, padded = heads * width, kv_heads * width, (width + PAD - 1) // PAD * PAD
    group, kv_head = heads // kv_heads, unit % kv_heads
    base, blocks = start * few + kv_head * width, (length + KEYS - 1) // KEYS
    step, shift = blocks * KEYS + WIDE, length - count
    keys = 0  # the workspace: keys [blocks, W, KEYS], values [T, P], queries and sums [QUERIES, P], scores, ..
    values = keys + blocks * KEYS * width
    queries = values + length * padded
    mixed = queries + QUERIES * padded
    scores = mixed + QUERIES * padded
    maxima = scores + QUERIES * step
    scratch = maxima + 2 * (QUERIES + LANES)
    bounds = scratch + LANES * LANES + WIDE
    write_bounds(work_, bounds)
    pack_rows_transposed(k_, base, few, width, work_, keys, length)
    copy_rows(v_, base, few, width, work_, values, length, np.float32(1.0))
    for head in range(kv_head * group, kv_head * group + group):
        masked, mask, mask_step = mask_of(units_, unit, kv_heads, head)
        biased, bias, bias_step, _ = bias_of(units_, unit, kv_heads, head)
        for query in range(0, count, QUERIES):
            rows, at = min(QUERIES, count - query), (first + query) * model + head * width
            visible = min(length, query + rows + shift) if causal else length
            tall = (rows + ROWS - 1) // ROWS * ROWS
            copy_rows(q_, at, model, width, work_, queries, rows, factor)
            for key in range(0, visible, KEYS):
                block, to, ahead = keys + key * width, scores + key, query + shift - key if causal else ALL
                wide = (min(KEYS, visible - key) + PAD - 1) // PAD * PAD
                multiply(work_, queries, work_, block, width, padded, work_, to, step, tall, wide, ahead)
            for row in range(rows):
                if masked:
                    add_mask(work_, scores + row * step, mask_, mask + (query + row) * mask_step, length)
                if biased:
                    add_mask(work_, scores + row * step, bias_, bias + (query + row) * bias_step, length)
            first_visible = query + shift + 1 if causal else length
            softmax(work_, scores, step, rows, first_visible, causal, length, maxima, scratch, bounds)
            stat = head * all_queries + first + query
            for row in range(rows):
                top, inverse = item(work_, maxima + row), item(work_, maxima + QUERIES + LANES + row)
                if top <= np.float32(MASKED / 2) and inverse == inverse:
                    inverse = np.float32(0.0)  # every key is masked
                put(stats_, stat + row, top)
                put(stats_, heads * all_queries + stat + row, inverse)
            fill_zeros(work_, mixed, tall * padded)
            for key in range(0, visible, VALUES):
                block, deep = values + key * padded, min(VALUES, visible - key)
                ahead = query + shift - key if causal else ALL
                add_product(work_, scores + key, step, work_, block, deep, work_, mixed, tall, padded, ahead)
            for row in range(rows):
                inverse = item(stats_, heads * all_queries + stat + row)
                scale_row(work_, mixed + row * padded, out_, at + row * model, width, inverse)


@kernel
def backward(
    q_: FloatsAt,
    k_: FloatsAt,
    v_: FloatsAt,
    mask_: FloatsAt,
    bias_: FloatsAt,
    units_: LongsAt,
    out_: FloatsAt,
    stats_: FloatsAt,
    dout_: FloatsAt,
    dq_: FloatsAt,
    dk_: FloatsAt,
    dv_: FloatsAt,
    dbias_: FloatsAt,
    work_: FloatsAt,
    scale: float,
    all_queries: int,
    heads: int,
    kv_heads: int,
    width: int,
    begin: int,
    end: int,
    parts: int,
) -> int:
    """The gradients of q, k, v and the bias (to which they are added) from that of out; else as `forward`."""
    numbers = np.float32(scale), all_queries, heads, kv_heads, width
    tensors = q_, k_, v_, mask_, bias_, units_, out_, stats_, dout_, dq_, dk_, dv_, dbias_
    for part in range(begin, end):
        unit = part
        while unit < item(units_, 0) * kv_heads:
            _backward_unit(tensors, work_, numbers, sequence_of(units_, unit, kv_heads), unit)
            unit += parts
    return 0


@inlined
def _backward_unit(tensors: Any, work_: Any, numbers: Any, sequence: Any, unit: int) -> None:
    """A head of keys of a sequence."""
    q_, k_, v_, mask_, bias_, units_, out_, stats_, dout_, dq_, dk_, dv_, dbias_ = tensors
    factor, all_queries, heads, kv_heads, width = numbers
    start, length, causal, first, count = sequence
    model, few, padded, one = heads * width, kv_heads * width, (width + PAD - 1) // PAD * PAD, np.float32(1.0)
    group, kv_head, shift = heads // kv_heads, unit % kv_heads, length - count
    base, blocks, size = start * few + kv_head * width, (length + KEYS - 1) // KEYS, (length + ROWS) * padded
    keys = 0  # the workspace: keys and values [blocks, W, KEYS], keys, their and the values' gradients [T, P], ..
    values = keys + blocks * KEYS * width
    rows_of_keys = values + blocks * KEYS * width
    dkeys = rows_of_keys + size
    dvalues = dkeys + size
    queries = dvalues + size
    dqueries = queries + QUERIES * padded
    dmixed = dqueries + QUERIES * padded
    weights = dmixed + QUERIES * padded
    dscores = weights + QUERIES * KEYS
    dots = dscores + QUERIES * KEYS
    scratch = dots + QUERIES + LANES
    bounds = scratch + LANES * LANES
    write_bounds(work_, bounds)
    pack_rows_transposed(k_, base, few, width, work_, keys, length)
    pack_rows_transposed(v_, base, few, width, work_, values, length)
    copy_rows(k_, base, few, width, work_, rows_of_keys, length, one)
    fill_zeros(work_, dkeys, 2 * size)
    for head in range(kv_head * group, kv_head * group + group):
        masked, mask, mask_step = mask_of(units_, unit, kv_heads, head)
        biased, bias, bias_step, dbias = bias_of(units_, unit, kv_heads, head)
        for query in range(0, count, QUERIES):
            rows, at = min(QUERIES, count - query), (first + query) * model + head * width
            visible = min(length, query + rows + shift) if causal else length
            tall = (rows + ROWS - 1) // ROWS * ROWS
            copy_rows(q_, at, model, width, work_, queries, rows, factor)
            copy_rows(dout_, at, model, width, work_, dmixed, rows, one)
            fill_zeros(work_, dqueries, tall * padded)
            row_dots(out_, at, model, width, work_, dmixed, padded, rows, scratch, dots)
            for key in range(0, visible, KEYS):
                deep, ahead, block = min(KEYS, length - key), query + shift - key if causal else ALL, key * width
                wide = (deep + PAD - 1) // PAD * PAD
                multiply(work_, queries, work_, keys + block, width, padded, work_, weights, KEYS, tall, wide, ahead)
                multiply(work_, dmixed, work_, values + block, width, padded, work_, dscores, KEYS, tall, wide, ahead)
                for row in range(rows):
                    row_visible = min(deep, row + ahead + 1)
                    last = min(KEYS, (row_visible + ROWS - 1 + WIDE - 1) // WIDE * WIDE)
                    if row_visible + ROWS > 1:
                        scores, gradients = weights + row * KEYS, dscores + row * KEYS
                        if masked:
                            add_mask(work_, scores, mask_, mask + (query + row) * mask_step + key, deep)
                        if biased:
                            add_mask(work_, scores, bias_, bias + (query + row) * bias_step + key, deep)
                        stat = head * all_queries + first + query + row
                        top, inverse = item(stats_, stat), item(stats_, heads * all_queries + stat)
                        dot, shown = item(work_, dots + row), max(0, row_visible)
                        softmax_gradient(work_, scores, gradients, shown, last, bounds, top, inverse, dot)
                        if biased:
                            add_gradient(work_, gradients, dbias_, dbias + (query + row) * bias_step + key, shown)
                block = key * padded
                to_q = work_, dqueries, tall, padded, ahead
                add_product(work_, dscores, KEYS, work_, rows_of_keys + block, deep, *to_q)
                to = dkeys + block, dvalues + block
                add_transposed_product(work_, dscores, work_, queries, rows, work_, to[0], deep, padded, ahead)
                add_transposed_product(work_, weights, work_, dmixed, rows, work_, to[1], deep, padded, ahead)
            for row in range(rows):
                scale_row(work_, dqueries + row * padded, dq_, at + row * model, width, factor)
    for row in range(length):
        scale_row(work_, dkeys + row * padded, dk_, base + row * few, width, one)
        scale_row(work_, dvalues + row * padded, dv_, base + row * few, width, one)
