"""The arithmetic of word2vec's kernel: scores of inputs against outputs, and the updates of both.

It is a small matrix product and its two gradients (Ji et al. 2016, "Parallelizing word2vec in shared and distributed
memory", section 4). Inputs are taken four, two or one at a time, so that all sums stay in registers.

A row is given by its offset in a flat array; rows have ``width`` floats, a multiple of sixteen. ``outputs`` holds
``count`` rows from ``first`` on, followed by seven valid rows of padding. Scores of a block of n inputs are stored as
[count, n] from ``at`` on; `score_size` is the number of floats that they take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import inlined
from nlpkit.machine.simd import (
    LANES,
    WIDE,
    add,
    fma,
    item,
    load,
    load16,
    mul,
    sigmoid,
    splat,
    splat16,
    spread2,
    spread4,
    store,
    sub,
    sums,
)


@inlined
def score_size(inputs: int, count: int) -> Any:
    """Floats of the scores of a block: outputs are scored eight at a time for one input, four for two, two for four."""
    each = LANES // inputs
    return inputs * ((count + each - 1) // each) * each


@inlined
def score4(
    a: Any, inputs: Any, q: int, b: Any, outputs: Any, first: int, count: int, scores: Any, at: int, width: int
) -> None:
    """Scores of the inputs q to q + 3."""
    zero = splat(np.float32(0))
    i0, i1, i2, i3 = item(inputs, q), item(inputs, q + 1), item(inputs, q + 2), item(inputs, q + 3)
    for k in range(0, count, 2):
        o0, o1 = item(outputs, first + k), item(outputs, first + k + 1)
        s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
        for c in range(0, width, LANES):
            y0, y1 = load(b, o0 + c), load(b, o1 + c)
            x = load(a, i0 + c)
            s00, s10 = fma(x, y0, s00), fma(x, y1, s10)
            x = load(a, i1 + c)
            s01, s11 = fma(x, y0, s01), fma(x, y1, s11)
            x = load(a, i2 + c)
            s02, s12 = fma(x, y0, s02), fma(x, y1, s12)
            x = load(a, i3 + c)
            s03, s13 = fma(x, y0, s03), fma(x, y1, s13)
        store(scores, at + 4 * k, sums(s00, s01, s02, s03, s10, s11, s12, s13))


@inlined
def score2(
    a: Any, inputs: Any, q: int, b: Any, outputs: Any, first: int, count: int, scores: Any, at: int, width: int
) -> None:
    """Scores of the inputs q and q + 1."""
    zero = splat(np.float32(0))
    i0, i1 = item(inputs, q), item(inputs, q + 1)
    for k in range(0, count, 4):
        o0, o1, o2, o3 = (
            item(outputs, first + k),
            item(outputs, first + k + 1),
            item(outputs, first + k + 2),
            item(outputs, first + k + 3),
        )
        s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = zero
        for c in range(0, width, LANES):
            x0, x1 = load(a, i0 + c), load(a, i1 + c)
            y = load(b, o0 + c)
            s00, s01 = fma(x0, y, s00), fma(x1, y, s01)
            y = load(b, o1 + c)
            s10, s11 = fma(x0, y, s10), fma(x1, y, s11)
            y = load(b, o2 + c)
            s20, s21 = fma(x0, y, s20), fma(x1, y, s21)
            y = load(b, o3 + c)
            s30, s31 = fma(x0, y, s30), fma(x1, y, s31)
        store(scores, at + 2 * k, sums(s00, s01, s10, s11, s20, s21, s30, s31))


@inlined
def score1(a: Any, i: int, b: Any, outputs: Any, first: int, count: int, scores: Any, at: int, width: int) -> None:
    """Scores of the input i."""
    zero = splat(np.float32(0))
    for n in range(0, count, 8):
        k = first + n
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
        o0, o1, o2, o3 = item(outputs, k), item(outputs, k + 1), item(outputs, k + 2), item(outputs, k + 3)
        o4, o5, o6, o7 = item(outputs, k + 4), item(outputs, k + 5), item(outputs, k + 6), item(outputs, k + 7)
        for c in range(0, width, LANES):
            x = load(a, i + c)
            s0, s1 = fma(x, load(b, o0 + c), s0), fma(x, load(b, o1 + c), s1)
            s2, s3 = fma(x, load(b, o2 + c), s2), fma(x, load(b, o3 + c), s3)
            s4, s5 = fma(x, load(b, o4 + c), s4), fma(x, load(b, o5 + c), s5)
            s6, s7 = fma(x, load(b, o6 + c), s6), fma(x, load(b, o7 + c), s7)
        store(scores, at + n, sums(s0, s1, s2, s3, s4, s5, s6, s7))


@inlined
def steps(scores: Any, at: int, inputs: int, count: int, labels: Any, first: int, rate: np.float32) -> None:
    """Replace the scores of a block by steps, rate (label - sigmoid(score)); labels from ``first`` on, one per
    output."""
    each = LANES // inputs
    for k in range(0, count, each):
        label = load(labels, first + k)
        label = spread4(label) if inputs == 4 else spread2(label) if inputs == 2 else label
        offset = at + inputs * k
        store(scores, offset, mul(splat(rate), sub(label, sigmoid(load(scores, offset)))))


@inlined
def learn4(
    a: Any, inputs: Any, q: int, b: Any, outputs: Any, first: int, count: int, step: Any, at: int, mask: Any, width: int
) -> None:
    """Update outputs along inputs, and inputs along the old outputs. ``mask`` [W] is 1 in the trainable columns."""
    zero = splat(np.float32(0))
    i0, i1, i2, i3 = item(inputs, q), item(inputs, q + 1), item(inputs, q + 2), item(inputs, q + 3)
    for c in range(0, width, LANES):
        x0, x1, x2, x3 = load(a, i0 + c), load(a, i1 + c), load(a, i2 + c), load(a, i3 + c)
        e0 = e1 = e2 = e3 = zero
        for k in range(count):
            p, o = at + 4 * k, item(outputs, first + k) + c
            y = load(b, o)
            g0, g1, g2, g3 = (
                splat(item(step, p)),
                splat(item(step, p + 1)),
                splat(item(step, p + 2)),
                splat(item(step, p + 3)),
            )
            e0, e1, e2, e3 = fma(g0, y, e0), fma(g1, y, e1), fma(g2, y, e2), fma(g3, y, e3)
            store(b, o, fma(g3, x3, fma(g2, x2, fma(g1, x1, fma(g0, x0, y)))))
        m = load(mask, c)  # inputs are loaded again: a row may occur twice among the four
        store(a, i0 + c, fma(e0, m, load(a, i0 + c)))
        store(a, i1 + c, fma(e1, m, load(a, i1 + c)))
        store(a, i2 + c, fma(e2, m, load(a, i2 + c)))
        store(a, i3 + c, fma(e3, m, load(a, i3 + c)))


@inlined
def learn2(
    a: Any, inputs: Any, q: int, b: Any, outputs: Any, first: int, count: int, step: Any, at: int, mask: Any, width: int
) -> None:
    """As `learn4`, for the inputs q and q + 1."""
    zero = splat16(np.float32(0))
    i0, i1 = item(inputs, q), item(inputs, q + 1)
    for c in range(0, width, WIDE):
        x0, x1 = load16(a, i0 + c), load16(a, i1 + c)
        e0 = e1 = zero
        for k in range(count):
            p, o = at + 2 * k, item(outputs, first + k) + c
            y = load16(b, o)
            g0, g1 = splat16(item(step, p)), splat16(item(step, p + 1))
            e0, e1 = fma(g0, y, e0), fma(g1, y, e1)
            store(b, o, fma(g1, x1, fma(g0, x0, y)))
        m = load16(mask, c)
        store(a, i0 + c, fma(e0, m, load16(a, i0 + c)))
        store(a, i1 + c, fma(e1, m, load16(a, i1 + c)))


@inlined
def learn1(
    a: Any,
    i: int,
    b: Any,
    outputs: Any,
    first: int,
    count: int,
    step: Any,
    at: int,
    mask: Any,
    error: Any,
    to: int,
    width: int,
) -> None:
    """Update outputs along the input i; the update of the input is written to ``error`` [to : to + W]."""
    zero = splat16(np.float32(0))
    for c in range(0, width - WIDE, 2 * WIDE):
        d = c + WIDE
        x, z, e, f = load16(a, i + c), load16(a, i + d), zero, zero
        for k in range(count):
            o, g = item(outputs, first + k), splat16(item(step, at + k))
            y, w = load16(b, o + c), load16(b, o + d)
            e, f = fma(g, y, e), fma(g, w, f)
            store(b, o + c, fma(g, x, y))
            store(b, o + d, fma(g, z, w))
        store(error, to + c, mul(e, load16(mask, c)))
        store(error, to + d, mul(f, load16(mask, d)))
    if width % (2 * WIDE) != 0:
        c = width - WIDE
        x, e = load16(a, i + c), zero
        for k in range(count):
            o, g = item(outputs, first + k) + c, splat16(item(step, at + k))
            y = load16(b, o)
            e = fma(g, y, e)
            store(b, o, fma(g, x, y))
        store(error, to + c, mul(e, load16(mask, c)))


@inlined
def move(a: Any, i: int, error: Any, at: int, width: int) -> None:
    """Add an error to an input."""
    for c in range(0, width, WIDE):
        store(a, i + c, add(load16(error, at + c), load16(a, i + c)))
