"""Rows of scores and of heads, helpers of nlpkit/kernels/attention_code.py: copy, mask, softmax and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.panels_code import load_transposed
from nlpkit.kernels.shapes import FIELDS, MASKED, PAD, QUERIES, ROWS
from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import (
    LANES,
    WIDE,
    add,
    div,
    exp,
    fma,
    greatest,
    item,
    least,
    load,
    load16,
    mul,
    put,
    splat,
    splat16,
    store,
    sub,
    sums,
)


@inlined
def sequence_of(units_: Any, unit: int, kv_heads: int) -> Any:
    """Of its sequence the first key, the number of keys, whether causal, the first query, the number of queries."""
    at = FIELDS * (1 + unit // kv_heads)
    start, length, causal = item(units_, at), item(units_, at + 1), item(units_, at + 2)
    return start, length, causal, item(units_, at + 7), item(units_, at + 8)


@inlined
def mask_of(units_: Any, unit: int, kv_heads: int, head: int) -> Any:
    """Whether its sequence has a mask, the head's offset in all masks, the stride of its queries."""
    at = FIELDS * (1 + unit // kv_heads)
    return item(units_, at + 3), item(units_, at + 4) + head * item(units_, at + 5), item(units_, at + 6)


@inlined
def bias_of(units_: Any, unit: int, kv_heads: int, head: int) -> Any:
    """Whether its sequence has a bias, the head's offset in its values, the stride of its queries, the head's offset in
    its gradient."""
    at = FIELDS * (1 + unit // kv_heads)
    of_head = head * item(units_, at + 11)
    return item(units_, at + 9), item(units_, at + 10) + of_head, item(units_, at + 12), item(units_, at + 13) + of_head


@helper
def copy_rows(x_: Any, x: int, step: int, width: int, out_: Any, out: int, rows: int, factor: Any) -> int:
    """Rows [rows, W] of x times ``factor``, as [rows, P], and rows of zeros up to a multiple of `ROWS`."""
    padded = (width + PAD - 1) // PAD * PAD
    for row in range(rows):
        to = out + row * padded
        scale_row(x_, x + row * step, out_, to, width, factor)
        for i in range(to + width, to + padded):
            put(out_, i, np.float32(0.0))
    fill_zeros(out_, out + rows * padded, -rows % ROWS * padded)
    return 0


@inlined
def scale_row(x_: Any, x: int, out_: Any, out: int, width: int, factor: Any) -> None:
    """A row of W numbers times ``factor``."""
    i, wide = 0, splat16(factor)
    while i + WIDE <= width:
        store(out_, out + i, mul(load16(x_, x + i), wide))
        i += WIDE
    if i + LANES <= width:
        store(out_, out + i, mul(load(x_, x + i), splat(factor)))
        i += LANES
    while i < width:
        put(out_, out + i, item(x_, x + i) * factor)
        i += 1


@inlined
def fill_zeros(out_: Any, out: int, count: int) -> None:
    """``count`` zeros, rounded up to a multiple of LANES."""
    zero = splat(np.float32(0.0))
    for i in range(out, out + count, LANES):
        store(out_, i, zero)


@inlined
def add_mask(work_: Any, at: int, mask_: Any, mask: int, count: int) -> None:
    """A row of a mask added to a row of scores."""
    for key in range(count):
        put(work_, at + key, item(work_, at + key) + item(mask_, mask + key))


@inlined
def add_gradient(work_: Any, at: int, out_: Any, out: int, count: int) -> None:
    """A row of the gradients of scores added to that of a bias."""
    for key in range(count):
        put(out_, out + key, item(out_, out + key) + item(work_, at + key))


@inlined
def _exp_from(scores: Any, top: Any) -> Any:
    """e^(scores - top), 0 where that is less than e^-80."""
    lowest = splat16(np.float32(-80.0))
    return sub(exp(greatest(lowest, sub(scores, top))), exp(lowest))


@inlined
def write_bounds(out_: Any, out: int) -> None:
    """WIDE infinities, then WIDE masked scores: the minimum with a window of them masks the end of a vector."""
    store(out_, out, splat16(np.float32(np.inf)))
    store(out_, out + WIDE, splat16(np.float32(MASKED)))


@inlined
def _load_masked(work_: Any, at: int, visible: int, bounds: int) -> Any:
    """WIDE scores, of which those after the first ``visible`` are masked."""
    scores = least(load16(work_, at), load16(work_, bounds + WIDE - max(0, min(WIDE, visible))))
    return greatest(scores, splat16(np.float32(MASKED)))  # uninitialised memory may have been less


@helper
def softmax(
    work_: Any,
    scores: int,
    step: int,
    rows: int,
    first_visible: int,
    more: int,
    length: int,
    maxima: int,
    scratch: int,
    bounds: int,
) -> int:
    """scores [rows, step] become e^(score - maximum).

    A row's maximum is written to ``maxima``, 1 / its sum QUERIES + LANES further. The first row attends to
    ``first_visible`` keys, each other to ``more`` than the one before; after them, as far as a tile reads, there is 0.
    The inverse is NaN where a score is. ``scratch`` has 8 WIDE numbers.
    """
    zero = splat16(np.float32(0.0))
    for begin in range(0, rows, LANES):
        for lane in range(LANES):  # behind the last row the last row again
            row = min(begin + lane, rows - 1)
            at, visible = scores + row * step, first_visible + row * more
            longest = min(length, first_visible + (row // ROWS * ROWS + ROWS - 1) * more)
            end = (longest + WIDE - 1) // WIDE * WIDE
            if begin + lane < rows:
                for i in range(visible // WIDE * WIDE, end, WIDE):
                    store(work_, at + i, _load_masked(work_, at + i, visible - i, bounds))
            most = splat(np.float32(MASKED))
            for i in range(at, at + end, LANES):
                most = greatest(most, load(work_, i))
            store(work_, scratch + lane * LANES, most)
        a, b, c, d, e, f, g, h = load_transposed(work_, scratch, LANES)
        most = greatest(greatest(greatest(a, b), greatest(c, d)), greatest(greatest(e, f), greatest(g, h)))
        store(work_, maxima + begin, most)
        for lane in range(min(LANES, rows - begin)):
            row = begin + lane
            at, longest = scores + row * step, min(length, first_visible + (row // ROWS * ROWS + ROWS - 1) * more)
            top, total = splat16(item(work_, maxima + row)), zero
            for i in range(at, at + longest, WIDE):
                score = load16(work_, i)
                weight = _exp_from(score, top)
                store(work_, i, weight)
                total = fma(score, zero, add(total, weight))
            store(work_, scratch + lane * LANES, add(*_halves(work_, scratch + LANES * LANES, total)))
        store(work_, maxima + QUERIES + LANES + begin, div(splat(np.float32(1.0)), _row_sums(work_, scratch)))
    return 0


@inlined
def _halves(work_: Any, scratch: int, x: Any) -> Any:
    """The halves of WIDE numbers."""
    store(work_, scratch, x)
    return load(work_, scratch), load(work_, scratch + LANES)


@inlined
def _row_sums(work_: Any, at: int) -> Any:
    """The sums of eight rows of eight numbers."""
    a, b = load(work_, at), load(work_, at + LANES)
    c, d = load(work_, at + 2 * LANES), load(work_, at + 3 * LANES)
    e, f = load(work_, at + 4 * LANES), load(work_, at + 5 * LANES)
    g, h = load(work_, at + 6 * LANES), load(work_, at + 7 * LANES)
    return sums(a, b, c, d, e, f, g, h)


@inlined
def softmax_gradient(
    work_: Any,
    weights: int,
    gradients: int,
    visible: int,
    end: int,
    bounds: int,
    maximum: Any,
    inverse: Any,
    row_dot: Any,
) -> None:
    """A row of scores becomes attention weights, and the gradients of the weights those of the scores; 0 after
    ``visible``."""
    top, factor, less = splat16(maximum), splat16(inverse), splat16(row_dot)
    for i in range(visible // WIDE * WIDE, end, WIDE):
        store(work_, weights + i, _load_masked(work_, weights + i, visible - i, bounds))
        store(work_, gradients + i, _load_masked(work_, gradients + i, visible - i, bounds))
    for i in range(0, end, WIDE):
        weight = mul(_exp_from(load16(work_, weights + i), top), factor)
        store(work_, weights + i, weight)
        store(work_, gradients + i, mul(weight, sub(load16(work_, gradients + i), less)))


@helper
def row_dots(
    x_: Any, x: int, step: int, width: int, work_: Any, y: int, padded: int, rows: int, scratch: int, out: int
) -> int:
    """The dot product of each row of x [rows, W] and y [rows, P]."""
    whole = width // LANES * LANES
    for begin in range(0, rows, LANES):
        for lane in range(LANES):
            row = min(begin + lane, rows - 1)
            at, by, total = x + row * step, y + row * padded, splat(np.float32(0.0))
            for i in range(0, whole, LANES):
                total = fma(load(x_, at + i), load(work_, by + i), total)
            store(work_, scratch + lane * LANES, total)
            for i in range(whole, width):
                to = scratch + lane * LANES + i - whole
                put(work_, to, item(work_, to) + item(x_, at + i) * item(work_, by + i))
        store(work_, out + begin, _row_sums(work_, scratch))
    return 0
