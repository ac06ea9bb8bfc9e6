"""What a model computes when it answers, compiled: products, norms, activations, attention.

Every number of a result is one written sequence of IEEE operations (nlpkit/machine/simd.py, nlpkit/kernels/tile.py)
that depends on the numbers of its own token and of those it sees, and on nothing else: not on the other tokens of a
batch, not on threads, not on whether the tokens before it were read with it or earlier. `nlpkit.kernels.answer` calls
these.

Weights lie in panels of `PANEL` columns: [panels, D, PANEL], so that a tile reads them from beginning to end; the keys
of attention lie in the same way. Rooms are memory to work in.

Shapes: M rows, D width, W width of a head, T queries, S keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.pointwise_code import bounded, gelu_of, gelu_tanh_of
from nlpkit.kernels.product_code import by_tiles
from nlpkit.kernels.shapes import PANEL, ROWS, WHOLE
from nlpkit.kernels.tile import STEP, tile, whole_tile
from nlpkit.machine.kernel import FloatsAt, Int8At, Int16At, IntsAt, inlined, kernel
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
)  # fmt: skip

_SHAPE = (PANEL // WIDE, WIDE) if PANEL > WIDE else (PANEL // LANES, LANES)
_six0, _four0, _two0, _one0 = (tile(rows, *_SHAPE) for rows in (6, 4, 2, 1))
_six8, _four8, _two8, _one8 = (tile(rows, 1, LANES) for rows in (6, 4, 2, 1))
_two_whole = whole_tile(2, 4)
_HIGH, _DEEP = 126, 512  # rows, and steps of the depth
_BEYOND = np.float32(1.5 * 2**23)


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

    Of many rows so many are multiplied with so many steps of all panels as stay in the caches, which changes no sum.
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
    """The sum of the lanes, in all of them."""
    return sums(x, x, x, x, x, x, x, x)


@kernel
def norm(x_: FloatsAt, weight_: FloatsAt, bias_: FloatsAt, out_: FloatsAt, rows: int, width: int, eps: float) -> int:
    """(x - mean) / sqrt(variance + eps) times weight, plus bias."""
    share, zero, one = splat(np.float32(1.0 / width)), splat(np.float32(0.0)), splat(np.float32(1.0))
    for at in range(0, rows * width, width):
        total = zero
        for place in range(0, width, LANES):
            total = add(total, load(x_, at + place))
        mean = mul(_everywhere(total), share)
        total = zero
        for place in range(0, width, LANES):
            away = sub(load(x_, at + place), mean)
            total = fma(away, away, total)
        variance = mul(_everywhere(total), share)
        scale = div(one, sqrt(add(variance, splat(np.float32(eps)))))
        for place in range(0, width, LANES):
            normed = mul(sub(load(x_, at + place), mean), scale)
            store(out_, at + place, fma(normed, load(weight_, place), load(bias_, place)))
    return 0


@kernel
def gelu(x_: FloatsAt, out_: FloatsAt, begin: int, end: int) -> int:
    """`nlpkit.kernels.pointwise_code.gelu` of the numbers begin to end - 1, without its derivative."""
    for place in range(begin, end - WIDE + 1, WIDE):
        store(out_, place, gelu_of(load16(x_, place))[0])
    for place in range(end - (end - begin) % WIDE, end, LANES):
        store(out_, place, gelu_of(load(x_, place))[0])
    return 0


@kernel
def gelu_tanh(x_: FloatsAt, out_: FloatsAt, begin: int, end: int) -> int:
    """`nlpkit.kernels.pointwise_code.gelu_tanh` of the numbers begin to end - 1, without its derivative."""
    for place in range(begin, end - WIDE + 1, WIDE):
        store(out_, place, gelu_tanh_of(load16(x_, place))[0])
    for place in range(end - (end - begin) % WIDE, end, LANES):
        store(out_, place, gelu_tanh_of(load(x_, place))[0])
    return 0


@inlined
def _scores(q_: Any, q: int, step: int, keys_: Any, at: int, far: int, width: int, room_: Any, wide: int, panels: int,
            rows: int) -> None:  # fmt: skip
    """Products of ``rows`` queries with all keys of some panels, ``far`` apart, [rows, wide]."""
    for panel in range(panels):
        key, out = at + panel * far, panel * PANEL
        if rows == 6:
            _six0(q_, q, step, keys_, key, PANEL, width, room_, out, wide)
        elif rows == 4:
            _four0(q_, q, step, keys_, key, PANEL, width, room_, out, wide)
        elif rows == 2:
            _two0(q_, q, step, keys_, key, PANEL, width, room_, out, wide)
        else:
            _one0(q_, q, step, keys_, key, PANEL, width, room_, out, wide)


@inlined
def _softmax(room_: Any, at: int, seen: int, longest: int, scale: Any, mask_: Any, mask: int, masked: int) -> None:
    """Of ``seen`` scores times ``scale``; 0 for those up to ``longest``. A mask is added to the scores."""
    whole = (seen + LANES - 1) // LANES * LANES
    lowest = np.float32(-np.inf)
    if masked:
        for key in range(seen):
            put(room_, at + key, item(room_, at + key) + item(mask_, mask + key) / scale)
    for key in range(seen, whole):
        put(room_, at + key, lowest)
    most, factor = splat(lowest), splat(scale)
    for place in range(at, at + whole, LANES):
        most = greatest(most, load(room_, place))
    top = splat(largest(most))
    for place in range(at, at + whole, LANES):
        store(room_, place, exp(bounded(mul(sub(load(room_, place), top), factor))))
    for key in range(seen, max(whole, longest)):
        put(room_, at + key, np.float32(0.0))
    if masked:
        for key in range(seen):
            if item(mask_, mask + key) == lowest:
                put(room_, at + key, np.float32(0.0))
    total = splat(np.float32(0.0))
    for place in range(at, at + whole, LANES):
        total = add(total, load(room_, place))
    share = div(splat(np.float32(1.0)), _everywhere(total))
    for place in range(at, at + whole, LANES):
        store(room_, place, mul(load(room_, place), share))


@inlined
def _mixed(room_: Any, wide: int, values_: Any, at: int, step: int, keys: int, out_: Any, out: int, far: int,
           width: int, rows: int) -> None:  # fmt: skip
    """Values mixed by the shares of ``rows`` queries."""
    column = 0
    while column < width:
        if width - column >= PANEL:
            if rows == 6:
                _six0(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 4:
                _four0(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 2:
                _two0(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            else:
                _one0(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            column += PANEL
        else:
            if rows == 6:
                _six8(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 4:
                _four8(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            elif rows == 2:
                _two8(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            else:
                _one8(room_, 0, wide, values_, at + column, step, keys, out_, out + column, far)
            column += LANES


@kernel
def attend(
    qkv_: FloatsAt, keys_: FloatsAt, values_: FloatsAt, mask_: FloatsAt, out_: FloatsAt, room_: FloatsAt, scale:
    float, heads: int, width: int, queries: int, before: int, key_unit: int, key_step: int, value_step: int,
    value_sequence: int, kept: int, causal: int, masked: int, begin: int, end: int,
) -> int:  # fmt: skip
    """softmax(q k^T scale) v for the heads begin to end - 1 of all sequences, ``heads`` each.

    qkv [sequences, T, 3 heads W] has the new queries, keys and values; ``before`` keys and values come from earlier.
    keys has the panels of one head ``key_step`` apart, and those of the next head ``key_unit`` further; the new ones
    are put there. values has the values of a sequence ``value_step`` apart, and ``value_sequence`` from one to the
    next; the new ones are put there if ``kept``, and else are there already. mask [sequences, heads, T, S] is added to
    the scores if ``masked``; with ``causal`` each query sees keys up to its own. room has ROWS times S numbers, S
    filled up to a multiple of `PANEL`.
    """
    model = heads * width
    row, keys = 3 * model, before + queries
    wide = (keys + PANEL - 1) // PANEL * PANEL
    factor = np.float32(scale)
    for unit in range(begin, end):
        sequence, head = unit // heads, unit % heads
        first, at = sequence * queries * row + head * width, unit * key_unit
        value = sequence * value_sequence + head * width
        for query in range(queries):
            key = before + query
            given, put_at = first + query * row + model, at + key // PANEL * key_step + key % PANEL
            for place in range(width):
                put(keys_, put_at + place * PANEL, item(qkv_, given + place))
            if kept:
                for place in range(0, width, LANES):
                    store(values_, value + key * value_step + place, load(qkv_, given + model + place))
        query = 0
        while query < queries:
            left = queries - query
            rows = 6 if left >= 6 else 4 if left >= 4 else 2 if left >= 2 else 1
            seen = before + query + rows if causal else keys
            _scores(qkv_, first + query * row, row, keys_, at, key_step, width, room_, wide,
                    (seen + PANEL - 1) // PANEL, rows)  # fmt: skip
            for number in range(rows):
                own = before + query + number + 1 if causal else keys
                mask = (unit * queries + query + number) * keys
                _softmax(room_, number * wide, own, seen, factor, mask_, mask, masked)
            out = (sequence * queries + query) * model + head * width
            _mixed(room_, wide, values_, value, value_step, seen, out_, out, model, width, rows)
            query += rows
    return 0


@inlined
def _whole(x_: Any, at: int, whole_: Any, to: int, width: int) -> Any:
    """A row as whole numbers from -127 to 127 times a scale, which is returned; a row of zeros has the scale 1."""
    most = zero = splat(np.float32(0.0))
    for place in range(at, at + width, LANES):
        x = load(x_, place)
        most = greatest(most, greatest(x, sub(zero, x)))
    peak = largest(most)
    factor = np.float32(127.0) / peak if peak > 0 else np.float32(0.0)
    for place in range(width):  # the nearest whole number: beyond 2^23 floats have no others
        put(whole_, to + place, np.int32((item(x_, at + place) * factor + _BEYOND) - _BEYOND))
    return peak * np.float32(1.0 / 127.0) if peak > 0 else np.float32(1.0)


@kernel
def rounded(x_: FloatsAt, whole_: Int8At, scale_: FloatsAt, rows: int, width: int) -> int:
    """Each row as whole numbers of 8 bits times ``scale_`` [M]."""
    for row in range(rows):
        put(scale_, row, _whole(x_, row * width, whole_, row * width, width))
    return 0


@inlined
def _put8(out_: Any, out: int, sum_: Any, scale: Any, columns_: Any, bias_: Any, column: int) -> None:
    put(out_, out, np.float32(np.int32(sum_)) * (scale * item(columns_, column)) + item(bias_, column))


@kernel
def product8(
    x_: FloatsAt, weight_: Int8At, columns_: FloatsAt, bias_: FloatsAt, out_: FloatsAt, whole_: Int16At, scales_:
    FloatsAt, sums_: IntsAt, rows: int, depth: int, columns: int, begin: int, end: int,
) -> int:  # fmt: skip
    """`rounded`, the product with weights [E, D] of 8 bits, and `scaled`, of all rows and the columns begin to end - 1
    of ``columns``. whole has room for D numbers of each of `WHOLE` rows, scales for one of each, sums for 8."""
    for top in range(0, rows, WHOLE):
        count = min(WHOLE, rows - top)
        for row in range(count):
            put(scales_, row, _whole(x_, (top + row) * depth, whole_, row * depth, depth))
        column = begin
        while column < end:
            wide, row = min(4, end - column), 0
            at, out = column * depth, top * columns + column
            if wide == 4 and count > 1 and depth % STEP == 0:
                while row + 2 <= count:
                    _two_whole(whole_, row * depth, weight_, at, depth, sums_, 0)
                    for place in range(8):
                        own, of = row + place // 4, place % 4
                        _put8(out_, out + own * columns + of, item(sums_, place), item(scales_, own), columns_, bias_,
                              column + of)  # fmt: skip
                    row += 2
            while row < count:
                for of in range(wide):
                    first, sum_ = at + of * depth, np.int32(0)
                    for place in range(depth):
                        sum_ += np.int32(item(whole_, row * depth + place)) * np.int32(item(weight_, first + place))
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
