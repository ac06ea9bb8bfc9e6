"""GloVe's inner loop: one step of AdaGrad on each cell of a block, cell after cell.

For a cell with the count x of a word and a context (Pennington et al. 2014, equation 8):

    d = w.c + b + b' - log x             what the model is off by
    loss = f(x) d^2                      of which the steps are half the gradient, as the factor 2 is in the rate
    g = lr f(x) d c                      for w; with w for c, and with 1 for both biases
    w -= g / sqrt(G),  G += g^2          AdaGrad (Duchi et al. 2011), for each number by itself; G begins at 1

The rate is part of what is squared, as in the authors' program: a step is s / sqrt(1 / lr^2 + sum of s^2) where s is
without the rate. A row of a matrix holds its numbers and behind them their G, so that both come in one piece from
memory. Every operation is an IEEE operation in a written order: no order of threads or width of registers is in it.

Shapes: N cells of a block, R rows of a matrix, W its width, a multiple of eight; numbers beyond the vectors' width are
zero and stay zero.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nlpkit.machine.kernel import Array, Floats, kernel
from nlpkit.machine.simd import LANES, add, div, f8, first, fma, load, mul, prefetch, splat, sqrt, store, sub
from nlpkit.vectors.glove.glove_cells import CELL

Cells = Annotated[Any, Array(CELL)]
_AHEAD = 2  # cells: so early the rows are asked for
_LINE = 16  # floats that come from memory together


@intrinsic  # type: ignore[untyped-decorator]
def _total(typing: Any, a: Any) -> Any:
    """The sum of eight lanes: halves are added, then quarters, then neighbours."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, lanes = arguments[0], ir.VectorType(ir.IntType(32), LANES)
        for distance in (4, 2, 1):
            other = ir.Constant(lanes, [lane ^ distance for lane in range(LANES)])
            value = builder.fadd(value, builder.shuffle_vector(value, value, other))
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float32(f8), code


@kernel
def learn(
    cells: Cells, words: Floats, word_bias: Floats, contexts: Floats, context_bias: Floats, width: int, rate: float
) -> float:
    """Visit the cells of a block [N] in their order; returns the sum of their losses, each as it was found.

    ``words`` and ``contexts`` are flat [R * 2 * W] float32, ``word_bias`` and ``context_bias`` [R * 2]. The two sides
    are alike: the block on the other side of the diagonal is learnt from the same cells with the sides exchanged.
    """
    row, loss, one, lr = 2 * width, 0.0, splat(np.float32(1)), np.float32(rate)
    for number in range(len(cells)):
        if number + _AHEAD < len(cells):
            coming = cells[number + _AHEAD]
            one_row, other_row = np.intp(coming.word) * row, np.intp(coming.context) * row
            for at in range(0, row, _LINE):
                prefetch(words, one_row + at)
                prefetch(contexts, other_row + at)
        cell = cells[number]
        w, c = np.intp(cell.word) * row, np.intp(cell.context) * row
        even, odd = splat(np.float32(0)), splat(np.float32(0))  # two sums, so that one need not wait for the other
        for at in range(0, width - LANES, 2 * LANES):
            even = fma(load(words, w + at), load(contexts, c + at), even)
            odd = fma(load(words, w + at + LANES), load(contexts, c + at + LANES), odd)
        if width % (2 * LANES):
            even = fma(load(words, w + width - LANES), load(contexts, c + width - LANES), even)
        p, q = 2 * np.intp(cell.word), 2 * np.intp(cell.context)
        off = _total(add(even, odd)) + word_bias[p] + context_bias[q] - cell.log
        step = cell.weight * off
        loss += np.float64(step) * np.float64(off)
        step *= lr
        steps = splat(step)
        for at in range(0, width, LANES):
            vector, other = load(words, w + at), load(contexts, c + at)
            squares, others = load(words, w + width + at), load(contexts, c + width + at)
            slope, slopes = mul(steps, other), mul(steps, vector)
            root, roots = sqrt(squares), sqrt(others)
            inverse = div(one, mul(root, roots))  # one slow division serves both sides
            store(words, w + at, sub(vector, mul(slope, mul(roots, inverse))))
            store(contexts, c + at, sub(other, mul(slopes, mul(root, inverse))))
            store(words, w + width + at, fma(slope, slope, squares))
            store(contexts, c + width + at, fma(slopes, slopes, others))
        word_bias[p] -= step / first(sqrt(splat(word_bias[p + 1])))
        context_bias[q] -= step / first(sqrt(splat(context_bias[q + 1])))
        word_bias[p + 1] += step * step
        context_bias[q + 1] += step * step
    return loss
