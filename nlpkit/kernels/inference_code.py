"""Inference, compiled: products, norms, activations, attention.

Every number of a result is one written sequence of IEEE operations (nlpkit/machine/simd.py, nlpkit/kernels/tile.py)
that depends on the numbers of its token and of those it attends to, and on nothing else: not on the other tokens of a
batch, not on threads, not on whether the tokens before it were read with it or earlier. They are called by
`nlpkit.kernels.inference`.

Weights are packed in panels (nlpkit/kernels/panels_code.py), and so are the keys of attention, a column for each key.

Shapes: M rows, D width, W width of a head, K heads of keys and values, S keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.attention_rows import bias_of, mask_of, sequence_of
from nlpkit.kernels.panels_code import TILE, by_tiles
from nlpkit.kernels.pointwise_code import bounded, gelu_of, gelu_tanh_of
from nlpkit.kernels.shapes import INT8_ROWS, MASKED, PANEL, ROWS
from nlpkit.kernels.tile import STEP, int8_tile, tile
from nlpkit.machine.kernel import FloatsAt, Int8At, Int16At, IntsAt, LongsAt, inlined, kernel
from nlpkit.machine.simd import (
    LANES,
    WIDE,
    add,
    div,
    exp,
    fma,
    greatest,
    item,
    largest,
    load,
    load16,
    mul,
    put,
    splat,
    sqrt,
    store,
    sub,
    sums,
)

_six0, _four0, _two0, _one0 = (tile(rows, *TILE) for rows in (6, 4, 2, 1))
_six8, _four8, _two8, _one8 = (tile(rows, 1, LANES) for rows in (6, 4, 2, 1))
_two_int8 = int8_tile(2, 4)
_HIGH, _DEEP = 126, 512  # rows, and steps of the depth
_ROUNDING = np.float32(1.5 * 2**23)


@kernel
def product(
    x_: FloatsAt,
    weight_: FloatsAt,
    bias_: FloatsAt,
    out_: FloatsAt,
    rows: int,
    depth: int,
    columns: int,
    begin: int,
    end: int,
) -> int:
    """out = x weight^T + bias in the panels begin to end - 1; ``columns`` [of out] is a multiple of `PANEL`.

    Many rows are multiplied in blocks of rows and depth that stay in the caches, which changes no sum.
    """
    step = _DEEP if rows > ROWS else max(depth, 1)
    for top in range(0, rows, _HIGH):
        last = min(rows, top + _HIGH)
        for k in range(0, max(depth, 1), step):
            deep = min(step, depth - k)
            for panel in range(begin, end):
                at, column = panel * PANEL * depth + k * PANEL, panel * PANEL
                x, out = top * depth + k, top * columns + column
                start_, start, far = out_, out, columns
                if k == 0:
                    start_, start, far = bias_, column, 0
                by_tiles(x_, x, depth, weight_, at, PANEL, deep, out_, out, columns, start_, start, far, last - top)
    return 0


@inlined
def _everywhere(x: Any) -> Any:
    """The sum of the lanes, in every lane."""
    return sums(x, x, x, x, x, x, x, x)


@kernel
def norm(x_: FloatsAt, weight_: FloatsAt, bias_: FloatsAt, out_: FloatsAt, rows: int, width: int, eps: float) -> int:
    """(x - mean) / sqrt(variance + eps) times weight, plus bias."""
    weight, zero, one = splat(np.float32(1.0 / width)), splat(np.float32(0.0)), splat(np.float32(1.0))
    for at in range(0, rows * width, width):
        total = zero
        for i in range(0, width, LANES):
            total = add(total, load(x_, at + i))
        mean = mul(_everywhere(total), weight)
        total = zero
        for i in range(0, width, LANES):
            away = sub(load(x_, at + i), mean)
            total = fma(away, away, total)
        variance = mul(_everywhere(total), weight)
        scale = div(one, sqrt(add(variance, splat(np.float32(eps)))))
        for i in range(0, width, LANES):
            normed = mul(sub(load(x_, at + i), mean), scale)
            store(out_, at + i, fma(normed, load(weight_, i), load(bias_, i)))
    return 0


@kernel
def gelu(x_: FloatsAt, out_: FloatsAt, begin: int, end: int) -> int:
    """`nlpkit.kernels.pointwise_code.gelu` of the numbers begin to end - 1, without its derivative."""
    for i in range(begin, end - WIDE + 1, WIDE):
        store(out_, i, gelu_of(load16(x_, i))[0])
    for i in range(end - (end - begin) % WIDE, end, LANES):
        store(out_, i, gelu_of(load(x_, i))[0])
    return 0


@kernel
def gelu_tanh(x_: FloatsAt, out_: FloatsAt, begin: int, end: int) -> int:
    """`nlpkit.kernels.pointwise_code.gelu_tanh` of the numbers begin to end - 1, without its derivative."""
    for i in range(begin, end - WIDE + 1, WIDE):
        store(out_, i, gelu_tanh_of(load16(x_, i))[0])
    for i in range(end - (end - begin) % WIDE, end, LANES):
        store(out_, i, gelu_tanh_of(load(x_, i))[0])
    return 0


@inlined
def _scores(
    q_: Any, q: int, step: int, keys_: Any, at: int, far: int, width: int, work_: Any, wide: int, panels: int, rows: int
) -> None:
    """Scores of ``rows`` queries and all keys of some panels, ``far`` apart, [rows, wide]."""
    for panel in range(panels):
        key, out = at + panel * far, panel * PANEL
        if rows == 6:
            _six0(q_, q, step, keys_, key, PANEL, width, work_, out, wide)
        elif rows == 4:
            _four0(q_, q, step, keys_, key, PANEL, width, work_, out, wide)
        elif rows == 2:
            _two0(q_, q, step, keys_, key, PANEL, width, work_, out, wide)
        else:
            _one0(q_, q, step, keys_, key, PANEL, width, work_, out, wide)


@inlined
def _softmax(work_: Any, at: int, visible: int, longest: int, scale: Any, masked: int, mask_: Any, mask: int) -> None:
    """Softmax of ``visible`` scores times ``scale``; 0 from there to ``longest``, and where the mask hides a key."""
    padded = (visible + LANES - 1) // LANES * LANES
    minus_inf, hidden = np.float32(-np.inf), np.float32(MASKED / 2)
    if masked:
        for key in range(visible):
            put(work_, at + key, item(work_, at + key) + item(mask_, mask + key) / scale)
    for key in range(visible, padded):
        put(work_, at + key, minus_inf)
    maximum, factor = splat(minus_inf), splat(scale)
    for i in range(at, at + padded, LANES):
        maximum = greatest(maximum, load(work_, i))
    top = splat(largest(maximum))
    for i in range(at, at + padded, LANES):
        store(work_, i, exp(bounded(mul(sub(load(work_, i), top), factor))))
    for key in range(visible, max(padded, longest)):
        put(work_, at + key, np.float32(0.0))
    if masked:
        for key in range(visible):
            if item(mask_, mask + key) <= hidden:
                put(work_, at + key, np.float32(0.0))
    total = splat(np.float32(0.0))
    for i in range(at, at + padded, LANES):
        total = add(total, load(work_, i))
    total = greatest(_everywhere(total), splat(np.float32(1e-30)))  # 0 where every key is hidden, else 1 or more
    inverse = div(splat(np.float32(1.0)), total)
    for i in range(at, at + padded, LANES):
        store(work_, i, mul(load(work_, i), inverse))


@inlined
def _weighted_sums(
    work_: Any,
    wide: int,
    values_: Any,
    at: int,
    step: int,
    keys: int,
    out_: Any,
    out: int,
    far: int,
    width: int,
    rows: int,
) -> None:
    """The sums of values, weighted by the attention of ``rows`` queries."""
    column = 0
    while column < width:
        if width - column >= PANEL:
            if rows == 6:
                _six0(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 4:
                _four0(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 2:
                _two0(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            else:
                _one0(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            column += PANEL
        else:
            if rows == 6:
                _six8(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 4:
                _four8(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 2:
                _two8(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            else:
                _one8(work_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            column += LANES


@kernel
def attend(
    q_: FloatsAt,
    k_: FloatsAt,
    v_: FloatsAt,
    keys_: FloatsAt,
    values_: FloatsAt,
    mask_: FloatsAt,
    bias_: FloatsAt,
    units_: LongsAt,
    out_: FloatsAt,
    work_: FloatsAt,
    scale: float,
    heads: int,
    kv_heads: int,
    width: int,
    q_step: int,
    kv_step: int,
    panels: int,
    way: int,
    begin: int,
    end: int,
    parts: int,
) -> int:
    """softmax(q k^T scale + mask + bias) v of the units begin, begin + parts, .. of each part up to ``end``; a unit is
    a head of keys of a sequence, with the heads of queries that share it.

    units: see `nlpkit.kernels.attention_code.forward`. The rows of q are ``q_step`` apart, those of k and v, the new
    keys and values, ``kv_step``. ``way`` 0: keys is a part of the workspace, as large as a head's panels, and values
    are v. Else keys [sequences, panels, K, W, PANEL] and values [sequences, panels PANEL, K W] are stored: 1 those of
    the queries' rows are added behind those that are there, 2 all are new, 3 all are there. work has ROWS x S numbers,
    S padded to a multiple of `PANEL`.
    """
    model, few, group = heads * width, kv_heads * width, heads // kv_heads
    factor = np.float32(scale)
    for part in range(begin, end):
        unit = part
        while unit < item(units_, 0) * kv_heads:
            sequence, kv_head = unit // kv_heads, unit % kv_heads
            start, length, causal, first, count = sequence_of(units_, unit, kv_heads)
            wide, at, key_step = (length + PANEL - 1) // PANEL * PANEL, 0, width * PANEL
            value, value_step, new, before = start * kv_step + kv_head * width, kv_step, start, 0
            if way > 0:
                at, key_step = (sequence * panels * kv_heads + kv_head) * width * PANEL, few * PANEL
                value, value_step = sequence * panels * PANEL * few + kv_head * width, few
                before, new = length, first
                if way == 1:
                    before = length - count
                elif way == 2:
                    before, new = 0, start
            for key in range(before, length):
                row = (new + key - before) * kv_step + kv_head * width
                packed = at + key // PANEL * key_step + key % PANEL
                for i in range(width):
                    put(keys_, packed + i * PANEL, item(k_, row + i))
                if way > 0:
                    for i in range(0, width, LANES):
                        store(values_, value + key * value_step + i, load(v_, row + i))
            shift = length - count
            for head in range(kv_head * group, kv_head * group + group):
                masked, mask, mask_step = mask_of(units_, unit, kv_heads, head)
                biased, bias, bias_step, _ = bias_of(units_, unit, kv_heads, head)
                query = 0
                while query < count:
                    left = count - query
                    rows = 6 if left >= 6 else 4 if left >= 4 else 2 if left >= 2 else 1
                    seen = query + rows + shift if causal else length
                    q = (first + query) * q_step + head * width
                    _scores(q_, q, q_step, keys_, at, key_step, width, work_, wide, (seen + PANEL - 1) // PANEL, rows)
                    for number in range(rows):
                        visible, scores = query + number + 1 + shift if causal else length, number * wide
                        if biased:
                            term = bias + (query + number) * bias_step
                            for key in range(visible):
                                put(work_, scores + key, item(work_, scores + key) + item(bias_, term + key) / factor)
                        row = mask + (query + number) * mask_step
                        _softmax(work_, scores, visible, seen, factor, masked, mask_, row)
                    out = (first + query) * model + head * width
                    _weighted_sums(work_, wide, values_, value, value_step, seen, out_, out, model, width, rows)
                    query += rows
            unit += parts
    return 0


@inlined
def _quantise(x_: Any, at: int, q_: Any, to: int, width: int) -> Any:
    """Quantise a row to integers from -127 to 127 and return its scale; a row of zeros has the scale 1."""
    largest_values = zero = splat(np.float32(0.0))
    for i in range(at, at + width, LANES):
        x = load(x_, i)
        largest_values = greatest(largest_values, greatest(x, sub(zero, x)))
    peak = largest(largest_values)
    factor = np.float32(127.0) / peak if peak > 0 else np.float32(0.0)
    for i in range(width):  # round to the nearest integer: floats beyond 2^23 are integers
        put(q_, to + i, np.int32((item(x_, at + i) * factor + _ROUNDING) - _ROUNDING))
    return peak * np.float32(1.0 / 127.0) if peak > 0 else np.float32(1.0)


@kernel
def rounded(x_: FloatsAt, q_: Int8At, scale_: FloatsAt, rows: int, width: int) -> int:
    """Quantise each row to int8, with its scale in ``scale_`` [M]."""
    for row in range(rows):
        put(scale_, row, _quantise(x_, row * width, q_, row * width, width))
    return 0


@inlined
def _put8(out_: Any, out: int, sum_: Any, scale: Any, columns_: Any, bias_: Any, column: int) -> None:
    put(out_, out, np.float32(np.int32(sum_)) * (scale * item(columns_, column)) + item(bias_, column))


@kernel
def product8(
    x_: FloatsAt,
    weight_: Int8At,
    columns_: FloatsAt,
    bias_: FloatsAt,
    out_: FloatsAt,
    q_: Int16At,
    scales_: FloatsAt,
    sums_: IntsAt,
    rows: int,
    depth: int,
    columns: int,
    begin: int,
    end: int,
) -> int:
    """`rounded`, the product with int8 weights [E, D], and `scaled`, of all rows and the columns begin to end - 1 of
    ``columns``. Workspaces: q D numbers of each of `INT8_ROWS` rows, scales one number of each, sums 8 numbers."""
    for top in range(0, rows, INT8_ROWS):
        count = min(INT8_ROWS, rows - top)
        for row in range(count):
            put(scales_, row, _quantise(x_, (top + row) * depth, q_, row * depth, depth))
        column = begin
        while column < end:
            wide, row = min(4, end - column), 0
            at, out = column * depth, top * columns + column
            if wide == 4 and count > 1 and depth % STEP == 0:
                while row + 2 <= count:
                    _two_int8(q_, row * depth, weight_, at, depth, sums_, 0)
                    for i in range(8):
                        line, of = row + i // 4, i % 4
                        to, scale = out + line * columns + of, item(scales_, line)
                        _put8(out_, to, item(sums_, i), scale, columns_, bias_, column + of)
                    row += 2
            while row < count:
                for of in range(wide):
                    first, sum_ = at + of * depth, np.int32(0)
                    for k in range(depth):
                        sum_ += np.int32(item(q_, row * depth + k)) * np.int32(item(weight_, first + k))
                    _put8(out_, out + row * columns + of, sum_, item(scales_, row), columns_, bias_, column + of)
                row += 1
            column += wide
    return 0


@kernel
def scaled(
    sums_: IntsAt, rows_: FloatsAt, columns_: FloatsAt, bias_: FloatsAt, out_: FloatsAt, rows: int, width: int
) -> int:
    """sums [M, width] times its row's and its column's scale, plus the bias; ``width`` may be any."""
    for row in range(rows):
        scale, at = item(rows_, row), row * width
        for column in range(width):
            sum_ = np.float32(item(sums_, at + column))
            put(out_, at + column, sum_ * (scale * item(columns_, column)) + item(bias_, column))
    return 0
