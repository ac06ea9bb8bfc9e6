"""What a group of windows learns: all are scored, then each moves its rows, one after the other.

Arguments are those of `nlpkit.vectors.word2vec.word2vec`: ``own.windows`` says where each window's inputs and outputs
are, ``a`` and ``b`` are the memory of inputs and outputs, ``outputs`` where rows of b begin, ``rate`` is the learning
rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import inlined
from nlpkit.machine.simd import WIDE, fma, item, load16, mul, splat16, store
from nlpkit.vectors.word2vec.products import learn1, learn2, learn4, move, room, score1, score2, score4, steps


@inlined
def learn_skipgram(group: int, plan: Any, own: Any, a: Any, b: Any, outputs: Any, rate: Any) -> None:
    """Each word around predicts the one in the middle (as word2vec.c does it; the paper has it the other way)."""
    width, scores, inputs = plan.width, own.scores, own.inputs
    at = 0
    for n in range(group):
        q, end, first, count = own.windows[n]
        while end - q >= 4:
            score4(a, inputs, q, b, outputs, first, count, scores, at, width)
            q, at = q + 4, at + room(4, count)
        if end - q >= 2:
            score2(a, inputs, q, b, outputs, first, count, scores, at, width)
            q, at = q + 2, at + room(2, count)
        if end - q == 1:
            score1(a, item(inputs, q), b, outputs, first, count, scores, at, width)
            at += room(1, count)
    at = 0
    for n in range(group):
        q, end, first, count = own.windows[n]
        while end - q >= 4:
            steps(scores, at, 4, count, plan.labels, item(own.froms, n), rate)
            q, at = q + 4, at + room(4, count)
        if end - q >= 2:
            steps(scores, at, 2, count, plan.labels, item(own.froms, n), rate)
            q, at = q + 2, at + room(2, count)
        if end - q == 1:
            steps(scores, at, 1, count, plan.labels, item(own.froms, n), rate)
            at += room(1, count)
    at = 0
    for n in range(group):
        q, end, first, count = own.windows[n]
        while end - q >= 4:
            learn4(a, inputs, q, b, outputs, first, count, scores, at, plan.mask, width)
            q, at = q + 4, at + room(4, count)
        if end - q >= 2:
            learn2(a, inputs, q, b, outputs, first, count, scores, at, plan.mask, width)
            q, at = q + 2, at + room(2, count)
        if end - q == 1:
            learn1(a, item(inputs, q), b, outputs, first, count, scores, at, plan.mask, own.error, 0, width)
            move(a, item(inputs, q), own.error, 0, width)
            at += room(1, count)


@inlined
def learn_cbow(group: int, plan: Any, own: Any, a: Any, b: Any, outputs: Any, rate: Any) -> None:
    """The words around predict the one in the middle together."""
    width, scores, hidden, none = plan.width, own.scores, own.hidden, splat16(np.float32(0))
    at = 0
    for n in range(group):
        q, end, first, count = own.windows[n]
        to = n * width
        share = splat16(np.float32(1) / np.float32(end - q) if plan.mean else np.float32(1))
        c = 0
        while c + 4 * WIDE <= width:
            h0 = h1 = h2 = h3 = none
            for p in range(q, end):
                i = item(own.inputs, p) + c
                h0, h1 = fma(load16(a, i), share, h0), fma(load16(a, i + WIDE), share, h1)
                h2, h3 = fma(load16(a, i + 2 * WIDE), share, h2), fma(load16(a, i + 3 * WIDE), share, h3)
            store(hidden, to + c, h0)
            store(hidden, to + c + WIDE, h1)
            store(hidden, to + c + 2 * WIDE, h2)
            store(hidden, to + c + 3 * WIDE, h3)
            c += 4 * WIDE
        while c < width:
            h0 = none
            for p in range(q, end):
                h0 = fma(load16(a, item(own.inputs, p) + c), share, h0)
            store(hidden, to + c, h0)
            c += WIDE
        if plan.bias >= 0:
            hidden[to + plan.bias] = 1
        score1(hidden, to, b, outputs, first, count, scores, at, width)
        at += room(1, count)
    at = 0
    for n in range(group):
        steps(scores, at, 1, own.windows[n, 3], plan.labels, item(own.froms, n), rate)
        at += room(1, own.windows[n, 3])
    at = 0
    for n in range(group):
        q, end, first, count = own.windows[n]
        learn1(hidden, n * width, b, outputs, first, count, scores, at, plan.mask, own.error, n * width, width)
        at += room(1, count)
    for n in range(group):
        q, end, first, count = own.windows[n]
        if plan.divide:
            share = splat16(np.float32(1) / np.float32(end - q))
            for c in range(n * width, (n + 1) * width, WIDE):
                store(own.error, c, mul(share, load16(own.error, c)))
        for p in range(q, end):
            move(a, item(own.inputs, p), own.error, n * width, width)
