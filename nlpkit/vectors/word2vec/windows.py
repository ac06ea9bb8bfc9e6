"""The update of a group of windows: all are scored, then each updates its rows, one after the other.

Arguments are those of `nlpkit.vectors.word2vec.word2vec`: ``scratch.windows`` holds the ranges of each window's
inputs and outputs, ``a`` and ``b`` are the matrices of inputs and outputs, ``outputs`` the offsets of rows in b,
``rate`` is the learning rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import inlined
from nlpkit.machine.simd import WIDE, fma, item, load16, mul, splat16, store
from nlpkit.vectors.word2vec.products import learn1, learn2, learn4, move, score1, score2, score4, score_size, steps


@inlined
def learn_skipgram(group: int, plan: Any, scratch: Any, a: Any, b: Any, outputs: Any, rate: Any) -> None:
    """Each word of the window predicts the word in the middle (as in word2vec.c; the paper has it the other way
    round)."""
    width, scores, inputs = plan.width, scratch.scores, scratch.inputs
    at = 0
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        while end - q >= 4:
            score4(a, inputs, q, b, outputs, first, count, scores, at, width)
            q, at = q + 4, at + score_size(4, count)
        if end - q >= 2:
            score2(a, inputs, q, b, outputs, first, count, scores, at, width)
            q, at = q + 2, at + score_size(2, count)
        if end - q == 1:
            score1(a, item(inputs, q), b, outputs, first, count, scores, at, width)
            at += score_size(1, count)
    at = 0
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        while end - q >= 4:
            steps(scores, at, 4, count, plan.labels, item(scratch.label_starts, n), rate)
            q, at = q + 4, at + score_size(4, count)
        if end - q >= 2:
            steps(scores, at, 2, count, plan.labels, item(scratch.label_starts, n), rate)
            q, at = q + 2, at + score_size(2, count)
        if end - q == 1:
            steps(scores, at, 1, count, plan.labels, item(scratch.label_starts, n), rate)
            at += score_size(1, count)
    at = 0
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        while end - q >= 4:
            learn4(a, inputs, q, b, outputs, first, count, scores, at, plan.mask, width)
            q, at = q + 4, at + score_size(4, count)
        if end - q >= 2:
            learn2(a, inputs, q, b, outputs, first, count, scores, at, plan.mask, width)
            q, at = q + 2, at + score_size(2, count)
        if end - q == 1:
            learn1(a, item(inputs, q), b, outputs, first, count, scores, at, plan.mask, scratch.error, 0, width)
            move(a, item(inputs, q), scratch.error, 0, width)
            at += score_size(1, count)


@inlined
def learn_cbow(group: int, plan: Any, scratch: Any, a: Any, b: Any, outputs: Any, rate: Any) -> None:
    """The mean or sum of the window's words predicts the word in the middle."""
    width, scores, hidden, none = plan.width, scratch.scores, scratch.hidden, splat16(np.float32(0))
    at = 0
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        to = n * width
        weight = splat16(np.float32(1) / np.float32(end - q) if plan.mean else np.float32(1))
        c = 0
        while c + 4 * WIDE <= width:
            h0 = h1 = h2 = h3 = none
            for p in range(q, end):
                i = item(scratch.inputs, p) + c
                h0, h1 = fma(load16(a, i), weight, h0), fma(load16(a, i + WIDE), weight, h1)
                h2, h3 = fma(load16(a, i + 2 * WIDE), weight, h2), fma(load16(a, i + 3 * WIDE), weight, h3)
            store(hidden, to + c, h0)
            store(hidden, to + c + WIDE, h1)
            store(hidden, to + c + 2 * WIDE, h2)
            store(hidden, to + c + 3 * WIDE, h3)
            c += 4 * WIDE
        while c < width:
            h0 = none
            for p in range(q, end):
                h0 = fma(load16(a, item(scratch.inputs, p) + c), weight, h0)
            store(hidden, to + c, h0)
            c += WIDE
        if plan.bias >= 0:
            hidden[to + plan.bias] = 1
        score1(hidden, to, b, outputs, first, count, scores, at, width)
        at += score_size(1, count)
    at = 0
    for n in range(group):
        steps(scores, at, 1, scratch.windows[n, 3], plan.labels, item(scratch.label_starts, n), rate)
        at += score_size(1, scratch.windows[n, 3])
    at = 0
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        learn1(hidden, n * width, b, outputs, first, count, scores, at, plan.mask, scratch.error, n * width, width)
        at += score_size(1, count)
    for n in range(group):
        q, end, first, count = scratch.windows[n]
        if plan.divide:
            weight = splat16(np.float32(1) / np.float32(end - q))
            for c in range(n * width, (n + 1) * width, WIDE):
                store(scratch.error, c, mul(weight, load16(scratch.error, c)))
        for p in range(q, end):
            move(a, item(scratch.inputs, p), scratch.error, n * width, width)
