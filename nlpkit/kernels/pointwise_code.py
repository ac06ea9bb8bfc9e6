"""What training computes between the products, compiled: one pass over memory where torch makes several.

A product reads its numbers from the cache and multiplies each some hundred times; GELU, the norm's backward and the
softmax of a loss only read and write them, and took a fifth of a small model's step. Each kernel here makes one pass,
and every number of its result is one written sequence of IEEE operations (nlpkit/machine/simd.py), so its bits depend
on neither threads nor CPU. Arrays are [.., width] with a width that is a multiple of 8 where not stated otherwise.
`nlpkit.kernels.pointwise` calls them.

Shapes: N rows, D width, M predictions, V vocabulary.
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
)


@inlined
def _lane_sum(x: Any, work_: Any) -> Any:
    """The sum of the lanes: neighbours, pairs, halves. ``work_`` has eight numbers."""
    store(work_, 0, x)
    pairs = ((work_[0] + work_[1]) + (work_[2] + work_[3])), ((work_[4] + work_[5]) + (work_[6] + work_[7]))
    return pairs[0] + pairs[1]


@inlined
def bounded(x: Any) -> Any:
    """x, clamped to the range of `exp`."""
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
    value = sub(above, mul(size, beyond))  # x Phi(x), without a difference of two close numbers
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
    s = div(one, add(one, exp(bounded(sub(alike(x, np.float32(0.0)), twice)))))
    rise = mul(x, fma(square, mul(alike(x, np.float32(3.0)), cubic), two_scale))  # x times the derivative of 2u
    return mul(x, s), fma(mul(s, sub(one, s)), rise, s)


@kernel
def gelu(x_: FloatsAt, out_: FloatsAt, derivative_: FloatsAt, begin: int, end: int) -> int:
    """GELU and its derivative of the numbers begin to end - 1; ``derivative_`` may be x."""
    for i in range(begin, end - WIDE + 1, WIDE):
        value, derivative = gelu_of(load16(x_, i))
        store(out_, i, value)
        store(derivative_, i, derivative)
    for i in range(end - (end - begin) % WIDE, end, LANES):
        rest, rise = gelu_of(load(x_, i))
        store(out_, i, rest)
        store(derivative_, i, rise)
    return 0


@kernel
def gelu_tanh(x_: FloatsAt, out_: FloatsAt, derivative_: FloatsAt, begin: int, end: int) -> int:
    """GELU by tanh and its derivative of the numbers begin to end - 1; ``derivative_`` may be x."""
    for i in range(begin, end - WIDE + 1, WIDE):
        value, derivative = gelu_tanh_of(load16(x_, i))
        store(out_, i, value)
        store(derivative_, i, derivative)
    for i in range(end - (end - begin) % WIDE, end, LANES):
        rest, rise = gelu_tanh_of(load(x_, i))
        store(out_, i, rest)
        store(derivative_, i, rise)
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
    work_: FloatsAt,
    width: int,
    begin: int,
    end: int,
) -> int:
    """The gradients of a norm for the rows begin to end - 1, where begin is a multiple of `NORM_ROWS`.

    ``mean_`` and ``scale_`` [N] are each row's mean and 1 / deviation. ``sums_`` [blocks, 2, D] gets each block's sums
    of grad times the normed input, and of grad. ``work_`` has LANES numbers.
    """
    weight = np.float32(1.0 / width)
    zero = splat(np.float32(0.0))
    for first in range(begin, end, NORM_ROWS):
        weights, biases = first // NORM_ROWS * 2 * width, first // NORM_ROWS * 2 * width + width
        for i in range(weights, weights + 2 * width, LANES):
            store(sums_, i, zero)
        for row in range(first, min(end, first + NORM_ROWS)):
            at = row * width
            mean, scale = splat(mean_[row]), splat(scale_[row])
            mean_grad, mean_product = zero, zero
            for i in range(0, width, LANES):
                grad = load(grad_, at + i)
                normed = mul(sub(load(x_, at + i), mean), scale)
                store(sums_, weights + i, fma(grad, normed, load(sums_, weights + i)))
                store(sums_, biases + i, add(load(sums_, biases + i), grad))
                weighted = mul(grad, load(weight_, i))
                mean_grad = add(mean_grad, weighted)
                mean_product = fma(weighted, normed, mean_product)
            mean_grad = splat(_lane_sum(mean_grad, work_) * weight)
            mean_product = splat(_lane_sum(mean_product, work_) * weight)
            for i in range(0, width, LANES):
                normed = mul(sub(load(x_, at + i), mean), scale)
                weighted = mul(load(grad_, at + i), load(weight_, i))
                store(dx_, at + i, mul(scale, sub(sub(weighted, mean_grad), mul(normed, mean_product))))
    return 0


@kernel
def add_blocks(sums_: FloatsAt, out_: FloatsAt, blocks: int, size: int) -> int:
    """The sum of ``blocks`` rows of ``size`` numbers, in their order."""
    for i in range(0, size, LANES):
        total = load(sums_, i)
        for block in range(1, blocks):
            total = add(total, load(sums_, block * size + i))
        store(out_, i, total)
    return 0


@kernel
def softmax_loss(
    logits_: FloatsAt, target_: LongsAt, loss_: FloatsAt, work_: FloatsAt, width: int, begin: int, end: int
) -> int:
    """-log softmax(logits)[target] of the rows begin to end - 1; the logits become its gradient, softmax less 1 at the
    target. ``width`` may be any. ``work_`` has 2 LANES numbers: the second half has the end of a row, padded with
    -inf."""
    whole = width // LANES * LANES
    minus_inf = splat(np.float32(-np.inf))
    for row in range(begin, end):
        at = row * width
        store(work_, LANES, minus_inf)
        for i in range(whole, width):
            put(work_, LANES + i - whole, item(logits_, at + i))
        # Four vectors at once, so that none waits for the result of another.
        a, b, c, d = minus_inf, minus_inf, minus_inf, load(work_, LANES)
        quarters = whole // (4 * LANES) * 4 * LANES
        for i in range(0, quarters, 4 * LANES):
            a, b = greatest(a, load(logits_, at + i)), greatest(b, load(logits_, at + i + LANES))
            c = greatest(c, load(logits_, at + i + 2 * LANES))
            d = greatest(d, load(logits_, at + i + 3 * LANES))
        for i in range(quarters, whole, LANES):
            a = greatest(a, load(logits_, at + i))
        store(work_, 0, greatest(greatest(a, b), greatest(c, d)))
        largest_logit = item(work_, 0)
        for lane in range(1, LANES):
            largest_logit = max(largest_logit, item(work_, lane))
        chosen = logits_[at + target_[row]]
        top = splat(largest_logit)
        a = b = c = d = splat(np.float32(0.0))
        for i in range(0, quarters, 4 * LANES):
            e = exp(bounded(sub(load(logits_, at + i), top)))
            f = exp(bounded(sub(load(logits_, at + i + LANES), top)))
            g = exp(bounded(sub(load(logits_, at + i + 2 * LANES), top)))
            h = exp(bounded(sub(load(logits_, at + i + 3 * LANES), top)))
            store(logits_, at + i, e)
            store(logits_, at + i + LANES, f)
            store(logits_, at + i + 2 * LANES, g)
            store(logits_, at + i + 3 * LANES, h)
            a, b, c, d = add(a, e), add(b, f), add(c, g), add(d, h)
        for i in range(quarters, whole, LANES):
            e = exp(bounded(sub(load(logits_, at + i), top)))
            store(logits_, at + i, e)
            a = add(a, e)
        store(work_, LANES, exp(bounded(sub(load(work_, LANES), top))))
        for i in range(whole, width):
            put(logits_, at + i, item(work_, LANES + i - whole))
        for lane in range(width - whole, LANES):
            put(work_, LANES + lane, np.float32(0.0))
        summed = _lane_sum(add(add(add(a, b), add(c, d)), load(work_, LANES)), work_)
        loss_[row] = np.float32(log(summed) + np.float64(largest_logit) - np.float64(chosen))
        scale = splat(np.float32(1.0) / summed)
        for i in range(0, whole, LANES):
            store(logits_, at + i, mul(load(logits_, at + i), scale))
        for i in range(whole, width):
            logits_[at + i] *= np.float32(1.0) / summed
        logits_[at + target_[row]] -= np.float32(1.0)
    return 0
