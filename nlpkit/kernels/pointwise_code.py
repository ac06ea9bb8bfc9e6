"""Training's work between the products, compiled: one pass over memory where torch makes several.

A product reads its numbers from the cache and multiplies each some hundred times; GELU, the norm's backward and the
softmax of a loss only read and write them, and took a fifth of a small model's step. Each kernel here does its work in
one pass, and every number of its result is one written sequence of IEEE operations (nlpkit/machine/simd.py), so its
bits depend on neither threads nor processor. Kernels know arrays only, [.., width] with a width that is a multiple of 8
where not said otherwise; `nlpkit.kernels.pointwise` calls them.

Shapes: N rows, D width, M answers, V vocabulary.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from nlpkit.kernels.shapes import NORM_ROWS
from nlpkit.machine.kernel import FloatsAt, LongsAt, inlined, kernel
from nlpkit.machine.simd import (
    LANES,
    WIDE,
    add,
    alike,
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
    signed,
    splat,
    store,
    sub,
)  # fmt: skip


@inlined
def _across(x: Any, room: Any) -> Any:
    """The sum of the lanes: neighbours, pairs, halves. ``room`` has eight places."""
    store(room, 0, x)
    pairs = ((room[0] + room[1]) + (room[2] + room[3])), ((room[4] + room[5]) + (room[6] + room[7]))
    return pairs[0] + pairs[1]


@inlined
def bounded(x: Any) -> Any:
    """Within what `exp` takes."""
    return greatest(alike(x, np.float32(-80.0)), least(alike(x, np.float32(80.0)), x))


@inlined
def gelu_of(x: Any) -> Any:
    """x Phi(x) and its derivative, Phi(x) + x phi(x).

    Phi by its complementary error function, Abramowitz and Stegun 1964, formula 7.1.26, which is off by at most 7.5e-8;
    its exponential is the density's.
    """
    one, half = alike(x, np.float32(1.0)), alike(x, np.float32(0.5))
    size = greatest(x, sub(alike(x, np.float32(0.0)), x))  # |x|
    density = exp(greatest(alike(x, np.float32(-80.0)), mul(mul(size, size), alike(x, np.float32(-0.5)))))
    t = div(one, fma(size, alike(x, np.float32(0.3275911 * 0.7071067811865476)), one))
    p = fma(t, alike(x, np.float32(0.5 * 1.061405429)), alike(x, np.float32(0.5 * -1.453152027)))
    p = fma(p, t, alike(x, np.float32(0.5 * 1.421413741)))
    p = fma(p, t, alike(x, np.float32(0.5 * -0.284496736)))
    p = fma(p, t, alike(x, np.float32(0.5 * 0.254829592)))
    beyond = mul(mul(p, t), density)  # Phi(-|x|)
    above = greatest(x, alike(x, np.float32(0.0)))
    phi = add(half, signed(sub(half, beyond), x))
    value = sub(above, mul(size, beyond))  # x Phi(x), without the difference of two near numbers
    return value, fma(mul(x, density), alike(x, np.float32(0.3989422804014327)), phi)


@inlined
def gelu_tanh_of(x: Any) -> Any:
    """x s and its derivative, s + x ds/dx.

    s = (1 + tanh(u)) / 2 = 1 / (1 + e^-2u), and u = sqrt(2 / pi) (x + 0.044715 x^3).
    """
    one, two_scale = alike(x, np.float32(1.0)), alike(x, np.float32(2 * 0.7978845608028654))
    cubic = alike(x, np.float32(2 * 0.7978845608028654 * 0.044715))
    square = mul(x, x)
    twice = mul(x, fma(square, cubic, two_scale))
    share = div(one, add(one, exp(bounded(sub(alike(x, np.float32(0.0)), twice)))))
    rise = mul(x, fma(square, mul(alike(x, np.float32(3.0)), cubic), two_scale))  # x times the derivative of 2u
    return mul(x, share), fma(mul(share, sub(one, share)), rise, share)


@kernel
def gelu(x_: FloatsAt, out_: FloatsAt, slope_: FloatsAt, begin: int, end: int) -> int:
    """GELU and its derivative of the numbers begin to end - 1; ``slope_`` may be x."""
    for place in range(begin, end - WIDE + 1, WIDE):
        value, slope = gelu_of(load16(x_, place))
        store(out_, place, value)
        store(slope_, place, slope)
    for place in range(end - (end - begin) % WIDE, end, LANES):
        rest, rise = gelu_of(load(x_, place))
        store(out_, place, rest)
        store(slope_, place, rise)
    return 0


@kernel
def gelu_tanh(x_: FloatsAt, out_: FloatsAt, slope_: FloatsAt, begin: int, end: int) -> int:
    """GELU by tanh and its derivative of the numbers begin to end - 1; ``slope_`` may be x."""
    for place in range(begin, end - WIDE + 1, WIDE):
        value, slope = gelu_tanh_of(load16(x_, place))
        store(out_, place, value)
        store(slope_, place, slope)
    for place in range(end - (end - begin) % WIDE, end, LANES):
        rest, rise = gelu_tanh_of(load(x_, place))
        store(out_, place, rest)
        store(slope_, place, rise)
    return 0


@kernel
def norm_backward(
    grad_: FloatsAt,
    x_: FloatsAt,
    mean_: FloatsAt,
    scale_: FloatsAt,
    weight_: FloatsAt,
    dx_: FloatsAt,
    sums_: FloatsAt,
    room_: FloatsAt,
    width: int,
    begin: int,
    end: int,
) -> int:
    """The gradients of a norm for the rows begin to end - 1, where begin is a multiple of `NORM_ROWS`.

    ``mean_`` and ``scale_`` [N] are each row's mean and 1 / deviation. ``sums_`` [blocks, 2, D] gets each block's sums
    of grad times the normed input, and of grad. ``room_`` has LANES numbers.
    """
    share = np.float32(1.0 / width)
    zero = splat(np.float32(0.0))
    for first in range(begin, end, NORM_ROWS):
        weights, biases = first // NORM_ROWS * 2 * width, first // NORM_ROWS * 2 * width + width
        for place in range(weights, weights + 2 * width, LANES):
            store(sums_, place, zero)
        for row in range(first, min(end, first + NORM_ROWS)):
            at = row * width
            mean, scale = splat(mean_[row]), splat(scale_[row])
            flat, along = zero, zero
            for place in range(0, width, LANES):
                grad = load(grad_, at + place)
                normed = mul(sub(load(x_, at + place), mean), scale)
                store(sums_, weights + place, fma(grad, normed, load(sums_, weights + place)))
                store(sums_, biases + place, add(load(sums_, biases + place), grad))
                weighted = mul(grad, load(weight_, place))
                flat = add(flat, weighted)
                along = fma(weighted, normed, along)
            flat, along = splat(_across(flat, room_) * share), splat(_across(along, room_) * share)
            for place in range(0, width, LANES):
                normed = mul(sub(load(x_, at + place), mean), scale)
                weighted = mul(load(grad_, at + place), load(weight_, place))
                store(dx_, at + place, mul(scale, sub(sub(weighted, flat), mul(normed, along))))
    return 0


@kernel
def add_blocks(sums_: FloatsAt, out_: FloatsAt, blocks: int, size: int) -> int:
    """The sum of ``blocks`` rows of ``size`` numbers, in their order."""
    for place in range(0, size, LANES):
        total = load(sums_, place)
        for block in range(1, blocks):
            total = add(total, load(sums_, block * size + place))
        store(out_, place, total)
    return 0


@kernel
def softmax_loss(
    logits_: FloatsAt, target_: LongsAt, loss_: FloatsAt, room_: FloatsAt, width: int, begin: int, end: int
) -> int:
    """Of each answer -log softmax(logits)[target], and in the logits' place its gradient, softmax less 1 at the target;
    of the rows begin to end - 1. ``width`` may be any. ``room_`` has 2 LANES numbers: the second half has
    the end of a row, filled up with what is never likely."""
    whole = width // LANES * LANES
    lowest = splat(np.float32(-np.inf))
    for row in range(begin, end):
        at = row * width
        store(room_, LANES, lowest)
        for place in range(whole, width):
            put(room_, LANES + place - whole, item(logits_, at + place))
        # Four at a time, so that one need not wait for the other.
        a, b, c, d = lowest, lowest, lowest, load(room_, LANES)
        quarters = whole // (4 * LANES) * 4 * LANES
        for place in range(0, quarters, 4 * LANES):
            a, b = greatest(a, load(logits_, at + place)), greatest(b, load(logits_, at + place + LANES))
            c = greatest(c, load(logits_, at + place + 2 * LANES))
            d = greatest(d, load(logits_, at + place + 3 * LANES))
        for place in range(quarters, whole, LANES):
            a = greatest(a, load(logits_, at + place))
        store(room_, 0, greatest(greatest(a, b), greatest(c, d)))
        most = item(room_, 0)
        for lane in range(1, LANES):
            most = max(most, item(room_, lane))
        chosen = logits_[at + target_[row]]
        top = splat(most)
        a = b = c = d = splat(np.float32(0.0))
        for place in range(0, quarters, 4 * LANES):
            e = exp(bounded(sub(load(logits_, at + place), top)))
            f = exp(bounded(sub(load(logits_, at + place + LANES), top)))
            g = exp(bounded(sub(load(logits_, at + place + 2 * LANES), top)))
            h = exp(bounded(sub(load(logits_, at + place + 3 * LANES), top)))
            store(logits_, at + place, e)
            store(logits_, at + place + LANES, f)
            store(logits_, at + place + 2 * LANES, g)
            store(logits_, at + place + 3 * LANES, h)
            a, b, c, d = add(a, e), add(b, f), add(c, g), add(d, h)
        for place in range(quarters, whole, LANES):
            e = exp(bounded(sub(load(logits_, at + place), top)))
            store(logits_, at + place, e)
            a = add(a, e)
        store(room_, LANES, exp(bounded(sub(load(room_, LANES), top))))
        for place in range(whole, width):
            put(logits_, at + place, item(room_, LANES + place - whole))
        for lane in range(width - whole, LANES):
            put(room_, LANES + lane, np.float32(0.0))
        summed = _across(add(add(add(a, b), add(c, d)), load(room_, LANES)), room_)
        loss_[row] = np.float32(log(summed) + np.float64(most) - np.float64(chosen))
        scale = splat(np.float32(1.0) / summed)
        for place in range(0, whole, LANES):
            store(logits_, at + place, mul(load(logits_, at + place), scale))
        for place in range(whole, width):
            logits_[at + place] *= np.float32(1.0) / summed
        logits_[at + target_[row]] -= np.float32(1.0)
    return 0
