"""The attention of learning, compiled: softmax(q k^T scale + mask) v inside of each sequence, and its gradients.

A unit of work is one head of one sequence. What it reads is laid out in a room of its own: `ROWS_AT_ONCE` queries at a
time, keys and values of the whole sequence, across in blocks of `KEYS` where a product needs that. Of the scores
nothing is kept but each row's greatest and the inverse of its sum; the backward pass computes them again
(Dao et al. 2022, FlashAttention, section 3.1), a block of queries and keys after the other.

Every number of a result is one written sum of IEEE operations (nlpkit/kernels/tile.py), in the order of the width, the
keys or the queries, whatever the number of threads, the processor or the size of a block.
`nlpkit.kernels.attention` calls these.

Shapes: N tokens, A queries, M model width, H heads, W width of a head, F that filled up to a multiple of `FILLED`, T
tokens of a sequence, R queries of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.attention_tiles import ALL, across, cross, mix, scored
from nlpkit.kernels.shapes import DEEP, FILLED, KEYS, LOWEST, PARTS, QUERIES, ROWS
from nlpkit.machine.kernel import FloatsAt, LongsAt, helper, inlined, kernel
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
    transposed,
)  # fmt: skip


@helper
def _taken(x_: Any, x: int, step: int, width: int, out_: Any, out: int, rows: int, factor: Any) -> int:
    """Rows [rows, W] of x times ``factor``, as [rows, F] and filled up to a multiple of `ROWS` rows."""
    filled = (width + FILLED - 1) // FILLED * FILLED
    for row in range(rows):
        to = out + row * filled
        _given(x_, x + row * step, out_, to, width, factor)
        for place in range(to + width, to + filled):
            put(out_, place, np.float32(0.0))
    _zeros(out_, out + rows * filled, -rows % ROWS * filled)
    return 0


@inlined
def _given(x_: Any, x: int, out_: Any, out: int, width: int, factor: Any) -> None:
    """A row of W numbers times ``factor``."""
    place, wide = 0, splat16(factor)
    while place + WIDE <= width:
        store(out_, out + place, mul(load16(x_, x + place), wide))
        place += WIDE
    if place + LANES <= width:
        store(out_, out + place, mul(load(x_, x + place), splat(factor)))
        place += LANES
    while place < width:
        put(out_, out + place, item(x_, x + place) * factor)
        place += 1


@inlined
def _zeros(out_: Any, out: int, count: int) -> None:
    zero = splat(np.float32(0.0))
    for place in range(out, out + count, LANES):
        store(out_, place, zero)


@inlined
def _added(room_: Any, at: int, mask_: Any, mask: int, count: int) -> None:
    """A row of a mask added to a row of scores."""
    for key in range(count):
        put(room_, at + key, item(room_, at + key) + item(mask_, mask + key))


@inlined
def _raised(scores: Any, top: Any) -> Any:
    """e^(scores - top), 0 where that is less than e^-80."""
    lowest = splat16(np.float32(-80.0))
    return sub(exp(greatest(lowest, sub(scores, top))), exp(lowest))


@inlined
def _ramp(out_: Any, out: int) -> None:
    """WIDE numbers that are no bound, then WIDE that are the lowest."""
    store(out_, out, splat16(np.float32(np.inf)))
    store(out_, out + WIDE, splat16(np.float32(LOWEST)))


@inlined
def _hidden(room_: Any, place: int, own: int, ramp: int) -> Any:
    """WIDE numbers, of which the first ``own`` stay and the others are the lowest."""
    shown = least(load16(room_, place), load16(room_, ramp + WIDE - max(0, min(WIDE, own))))
    return greatest(shown, splat16(np.float32(LOWEST)))  # what lay there before may be less


@helper
def _softmax(room_: Any, scores: int, step: int, rows: int, own: int, more: int, length: int, tops: int, spare: int,
             ramp: int) -> int:  # fmt: skip
    """Of scores [rows, step] e^(score - greatest); each row's greatest in ``tops``, 1 / the sum QUERIES further.

    The first row sees ``own`` scores, each other ``more`` than that before; after them, as far as a tile reads, there
    is 0. The inverse is no number where a score is none. ``spare`` is room for 8 WIDE numbers.
    """
    zero = splat16(np.float32(0.0))
    for begin in range(0, rows, LANES):
        for lane in range(LANES):  # the last row again where there are no more
            row = min(begin + lane, rows - 1)
            at, seen = scores + row * step, own + row * more
            longest = min(length, own + (row // ROWS * ROWS + ROWS - 1) * more)
            end = (longest + WIDE - 1) // WIDE * WIDE
            if begin + lane < rows:
                for place in range(seen // WIDE * WIDE, end, WIDE):
                    store(room_, at + place, _hidden(room_, at + place, seen - place, ramp))
            most = splat(np.float32(LOWEST))
            for place in range(at, at + end, LANES):
                most = greatest(most, load(room_, place))
            store(room_, spare + lane * LANES, most)
        a, b, c, d, e, f, g, h = transposed(
            load(room_, spare), load(room_, spare + LANES), load(room_, spare + 2 * LANES),
            load(room_, spare + 3 * LANES), load(room_, spare + 4 * LANES), load(room_, spare + 5 * LANES),
            load(room_, spare + 6 * LANES), load(room_, spare + 7 * LANES),
        )  # fmt: skip
        most = greatest(greatest(greatest(a, b), greatest(c, d)), greatest(greatest(e, f), greatest(g, h)))
        store(room_, tops + begin, most)
        for lane in range(min(LANES, rows - begin)):
            row = begin + lane
            at, longest = scores + row * step, min(length, own + (row // ROWS * ROWS + ROWS - 1) * more)
            top, total = splat16(item(room_, tops + row)), zero
            for place in range(at, at + longest, WIDE):
                score = load16(room_, place)
                raised = _raised(score, top)
                store(room_, place, raised)
                total = fma(score, zero, add(total, raised))
            store(room_, spare + lane * LANES, add(*_halves(room_, spare + LANES * LANES, total)))
        store(room_, tops + QUERIES + LANES + begin, div(splat(np.float32(1.0)), _sums(room_, spare)))
    return 0


@inlined
def _halves(room_: Any, spare: int, x: Any) -> Any:
    """The halves of WIDE numbers."""
    store(room_, spare, x)
    return load(room_, spare), load(room_, spare + LANES)


@inlined
def _sums(room_: Any, at: int) -> Any:
    """The sums of eight rows of eight numbers."""
    return sums(load(room_, at), load(room_, at + LANES), load(room_, at + 2 * LANES), load(room_, at + 3 * LANES),
                load(room_, at + 4 * LANES), load(room_, at + 5 * LANES), load(room_, at + 6 * LANES),
                load(room_, at + 7 * LANES))  # fmt: skip


@inlined
def _unit(units_: Any, unit: int, heads: int) -> Any:
    """Its head; of its sequence the first token, the length, whether causal, whether there is a mask, where that of
    the head is, how far apart its queries are, the first query, and how many there are."""
    at, head = PARTS * (1 + unit // heads), unit % heads
    return (
        head, item(units_, at), item(units_, at + 1), item(units_, at + 2), item(units_, at + 3),
        item(units_, at + 4) + head * item(units_, at + 5), item(units_, at + 6), item(units_, at + 7),
        item(units_, at + 8),
    )  # fmt: skip


@kernel
def forward(
    q_: FloatsAt, k_: FloatsAt, v_: FloatsAt, mask_: FloatsAt, units_: LongsAt, out_: FloatsAt, stats_: FloatsAt,
    room_: FloatsAt, scale: float, queried: int, heads: int, width: int, begin: int, end: int, parts: int,
) -> int:  # fmt: skip
    """The units begin, begin + parts, .. of each part up to ``end``; those are heads of sequences.

    units [1 + sequences, PARTS]: in the first row their number, then of each its first token, length, whether causal,
    whether there is a mask, where, how far apart this has heads and queries, the first query and how many there are: as
    many as tokens where it is causal or masked. q and out [A, M], where A is ``queried``; stats [2, H, A] gets the
    greatest score and 1 / the sum.
    """
    model, filled = heads * width, (width + FILLED - 1) // FILLED * FILLED
    factor, one = np.float32(scale), np.float32(1.0)
    for part in range(begin, end):
        unit = part
        while unit < item(units_, 0) * heads:
            head, start, length, causal, masked, mask, far, first, asked = _unit(units_, unit, heads)
            unit += parts
            given, blocks = start * model + head * width, (length + KEYS - 1) // KEYS
            step = blocks * KEYS + WIDE
            keys = 0
            values = keys + blocks * KEYS * width
            queries = values + length * filled
            mixed = queries + QUERIES * filled
            scores = mixed + QUERIES * filled
            tops = scores + QUERIES * step
            spare = tops + 2 * (QUERIES + LANES)
            ramp = spare + LANES * LANES + WIDE
            _ramp(room_, ramp)
            across(k_, given, model, width, room_, keys, length)
            _taken(v_, given, model, width, room_, values, length, one)
            for query in range(0, asked, QUERIES):
                rows, here = min(QUERIES, asked - query), (first + query) * model + head * width
                seen = min(length, query + rows) if causal else length
                high = (rows + ROWS - 1) // ROWS * ROWS
                _taken(q_, here, model, width, room_, queries, rows, factor)
                for key in range(0, seen, KEYS):
                    scored(room_, queries, room_, keys + key * width, width, filled, room_, scores + key, step, high,
                            (min(KEYS, seen - key) + FILLED - 1) // FILLED * FILLED,
                            query - key if causal else ALL)  # fmt: skip
                if masked:
                    for row in range(rows):
                        _added(room_, scores + row * step, mask_, mask + (query + row) * far, length)
                _softmax(room_, scores, step, rows, query + 1 if causal else length, causal, length, tops, spare, ramp)
                place = head * queried + first + query
                for row in range(rows):
                    top, inverse = item(room_, tops + row), item(room_, tops + QUERIES + LANES + row)
                    if top <= np.float32(LOWEST / 2) and inverse == inverse:
                        inverse = np.float32(0.0)  # nothing may be seen
                    put(stats_, place + row, top)
                    put(stats_, heads * queried + place + row, inverse)
                _zeros(room_, mixed, high * filled)
                for key in range(0, seen, DEEP):
                    mix(room_, scores + key, step, room_, values + key * filled, min(DEEP, seen - key), room_, mixed,
                           high, filled, query - key if causal else ALL)  # fmt: skip
                for row in range(rows):
                    inverse = item(stats_, (heads + head) * queried + first + query + row)
                    _given(room_, mixed + row * filled, out_, here + row * model, width, inverse)
    return 0


@inlined
def _slopes(room_: Any, shares: int, slopes: int, own: int, end: int, ramp: int, top: Any, inverse: Any,
            along: Any) -> None:  # fmt: skip
    """A row of scores and the gradients of its shares become shares and the gradients of scores, 0 after ``own``."""
    high, factor, less = splat16(top), splat16(inverse), splat16(along)
    for place in range(own // WIDE * WIDE, end, WIDE):
        store(room_, shares + place, _hidden(room_, shares + place, own - place, ramp))
        store(room_, slopes + place, _hidden(room_, slopes + place, own - place, ramp))
    for place in range(0, end, WIDE):
        share = mul(_raised(load16(room_, shares + place), high), factor)
        store(room_, shares + place, share)
        store(room_, slopes + place, mul(share, sub(load16(room_, slopes + place), less)))


@helper
def _along(x_: Any, x: int, step: int, width: int, room_: Any, y: int, filled: int, rows: int, spare: int,
           out: int) -> int:  # fmt: skip
    """The sum of the products of each row of x [rows, W] and y [rows, F]."""
    whole = width // LANES * LANES
    for begin in range(0, rows, LANES):
        for lane in range(LANES):
            row = min(begin + lane, rows - 1)
            at, by, total = x + row * step, y + row * filled, splat(np.float32(0.0))
            for place in range(0, whole, LANES):
                total = fma(load(x_, at + place), load(room_, by + place), total)
            store(room_, spare + lane * LANES, total)
            for place in range(whole, width):
                to = spare + lane * LANES + place - whole
                put(room_, to, item(room_, to) + item(x_, at + place) * item(room_, by + place))
        store(room_, out + begin, _sums(room_, spare))
    return 0


@kernel
def backward(
    q_: FloatsAt, k_: FloatsAt, v_: FloatsAt, mask_: FloatsAt, units_: LongsAt, out_: FloatsAt, stats_: FloatsAt,
    dout_: FloatsAt, dq_: FloatsAt, dk_: FloatsAt, dv_: FloatsAt, room_: FloatsAt, scale: float, queried: int,
    heads: int, width: int, begin: int, end: int, parts: int,
) -> int:  # fmt: skip
    """The gradients of q, k and v from that of out; else as `forward`."""
    model, filled = heads * width, (width + FILLED - 1) // FILLED * FILLED
    factor, one = np.float32(scale), np.float32(1.0)
    for part in range(begin, end):
        unit = part
        while unit < item(units_, 0) * heads:
            head, start, length, causal, masked, mask, far, first, asked = _unit(units_, unit, heads)
            unit += parts
            given, blocks, size = start * model + head * width, (length + KEYS - 1) // KEYS, (length + ROWS) * filled
            keys = 0
            values = keys + blocks * KEYS * width
            rows_of_keys = values + blocks * KEYS * width
            dkeys = rows_of_keys + size
            dvalues = dkeys + size
            queries = dvalues + size
            dqueries = queries + QUERIES * filled
            dmixed = dqueries + QUERIES * filled
            shares = dmixed + QUERIES * filled
            slopes = shares + QUERIES * KEYS
            along = slopes + QUERIES * KEYS
            spare = along + QUERIES + LANES
            ramp = spare + LANES * LANES
            _ramp(room_, ramp)
            across(k_, given, model, width, room_, keys, length)
            across(v_, given, model, width, room_, values, length)
            _taken(k_, given, model, width, room_, rows_of_keys, length, one)
            _zeros(room_, dkeys, 2 * size)
            for query in range(0, asked, QUERIES):
                rows, here = min(QUERIES, asked - query), (first + query) * model + head * width
                seen = min(length, query + rows) if causal else length
                high = (rows + ROWS - 1) // ROWS * ROWS
                _taken(q_, here, model, width, room_, queries, rows, factor)
                _taken(dout_, here, model, width, room_, dmixed, rows, one)
                _zeros(room_, dqueries, high * filled)
                _along(out_, here, model, width, room_, dmixed, filled, rows, spare, along)
                for key in range(0, seen, KEYS):
                    count, ahead = min(KEYS, length - key), query - key if causal else ALL
                    wide = (count + FILLED - 1) // FILLED * FILLED
                    scored(room_, queries, room_, keys + key * width, width, filled, room_, shares, KEYS, high, wide,
                            ahead)  # fmt: skip
                    scored(room_, dmixed, room_, values + key * width, width, filled, room_, slopes, KEYS, high, wide,
                            ahead)  # fmt: skip
                    for row in range(rows):
                        own = min(count, row + ahead + 1)
                        last = min(KEYS, (own + ROWS - 1 + WIDE - 1) // WIDE * WIDE)
                        if own + ROWS > 1:
                            place = head * queried + first + query + row
                            if masked:
                                _added(room_, shares + row * KEYS, mask_, mask + (query + row) * far + key, count)
                            _slopes(room_, shares + row * KEYS, slopes + row * KEYS, max(0, own), last, ramp,
                                    item(stats_, place), item(stats_, heads * queried + place),
                                    item(room_, along + row))  # fmt: skip
                    mix(room_, slopes, KEYS, room_, rows_of_keys + key * filled, count, room_, dqueries, high,
                           filled, ahead)  # fmt: skip
                    cross(room_, slopes, room_, queries, rows, room_, dkeys + key * filled, count, filled, ahead)
                    cross(room_, shares, room_, dmixed, rows, room_, dvalues + key * filled, count, filled, ahead)
                for row in range(rows):
                    _given(room_, dqueries + row * filled, dq_, here + row * model, width, factor)
            for row in range(length):
                _given(room_, dkeys + row * filled, dk_, given + row * model, width, one)
                _given(room_, dvalues + row * filled, dv_, given + row * model, width, one)
    return 0
