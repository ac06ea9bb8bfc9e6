"""GloVe's inner loop: one step of AdaGrad on each cell of a block, cell after cell.

For a cell with the count x of a word and a context (Pennington et al. 2014, equation 8):

    d = w.c + b + b' - log x             the error of the model
    loss = f(x) d^2                      a step is half the gradient: the factor 2 is in the rate
    g = lr f(x) d c                      for w; with w for c, and with 1 for both biases
    w -= g / sqrt(G),  G += g^2          AdaGrad (Duchi et al. 2011), per parameter; G begins at 1

The rate is part of the squared gradient, as in the authors' program: a step is s / sqrt(1 / lr^2 + sum of s^2) where s
is without the rate. A row of a matrix holds its parameters and behind them their G, so that both are adjacent in
memory:

    row r    [w_0 ... w_W-1 | G_0 ... G_W-1]

Every operation is an IEEE operation in a fixed order, which depends neither on threads nor on the width of registers.

Shapes: N cells of a block, R rows of a matrix, W its width, a multiple of eight; padding is
zero and stays zero.
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
_AHEAD = 2  # rows are prefetched this many cells ahead
_LINE = 16  # floats of a cache line


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
    """Visit the cells of a block [N] in their order; returns the sum of their losses, each before its own step.

    ``words`` and ``contexts`` are flat [R * 2 * W] float32, ``word_bias`` and ``context_bias`` [R * 2]. The two sides
    are alike: the mirrored block is trained on the same cells with the sides exchanged.
    """
    row, loss, one, lr = 2 * width, 0.0, splat(np.float32(1)), np.float32(rate)
    for number in range(len(cells)):
        if number + _AHEAD < len(cells):
            coming = cells[number + _AHEAD]
            one_row, other_row = np.intp(coming.word) * row, np.intp(coming.context) * row
            for column in range(0, row, _LINE):
                prefetch(words, one_row + column)
                prefetch(contexts, other_row + column)
        cell = cells[number]
        w, c = np.intp(cell.word) * row, np.intp(cell.context) * row
        even, odd = splat(np.float32(0)), splat(np.float32(0))  # two accumulators: independent chains of additions
        for column in range(0, width - LANES, 2 * LANES):
            even = fma(load(words, w + column), load(contexts, c + column), even)
            odd = fma(load(words, w + column + LANES), load(contexts, c + column + LANES), odd)
        if width % (2 * LANES):
            even = fma(load(words, w + width - LANES), load(contexts, c + width - LANES), even)
        p, q = 2 * np.intp(cell.word), 2 * np.intp(cell.context)
        error = _total(add(even, odd)) + word_bias[p] + context_bias[q] - cell.log
        step = cell.weight * error
        loss += np.float64(step) * np.float64(error)
        step *= lr
        steps = splat(step)
        for column in range(0, width, LANES):
            vector, other = load(words, w + column), load(contexts, c + column)
            squares, others = load(words, w + width + column), load(contexts, c + width + column)
            word_gradient, context_gradient = mul(steps, other), mul(steps, vector)
            root, roots = sqrt(squares), sqrt(others)
            inverse = div(one, mul(root, roots))  # one division for both, as divisions are slow
            store(words, w + column, sub(vector, mul(word_gradient, mul(roots, inverse))))
            store(contexts, c + column, sub(other, mul(context_gradient, mul(root, inverse))))
            store(words, w + width + column, fma(word_gradient, word_gradient, squares))
            store(contexts, c + width + column, fma(context_gradient, context_gradient, others))
        word_bias[p] -= step / first(sqrt(splat(word_bias[p + 1])))
        context_bias[q] -= step / first(sqrt(splat(context_bias[q + 1])))
        word_bias[p + 1] += step * step
        context_bias[q + 1] += step * step
    return loss
