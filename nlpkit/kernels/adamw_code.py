"""AdamW's update, compiled: one pass over a parameter, its gradient and its moments, where torch's functions make nine,
and are called nine times for each small parameter.

Each number of a result is one written sequence of IEEE operations (nlpkit/machine/simd.py), those of torch.optim.AdamW
on a CPU except for the square root, which torch leaves to a library whose last bits depend on the CPU.
`nlpkit.training.optimizers.adamw` calls this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import FloatsAt, inlined, kernel
from nlpkit.machine.simd import WIDE, add, div, fma, item, load16, mul, put, splat16, sqrt, store, sub


@inlined
def _updated(value: Any, gradient: Any, mean: Any, square: Any, floats: Any) -> Any:
    """The value and both moments after an update, WIDE numbers at once."""
    decay, weight, beta2, correction, eps, size = floats
    difference = sub(gradient, mean)
    if weight < np.float32(0.5):
        mean = fma(splat16(weight), difference, mean)
    else:
        mean = fma(splat16(weight - np.float32(1.0)), difference, gradient)
    fresh = np.float32(1.0 - beta2)
    square = fma(mul(splat16(fresh), gradient), gradient, mul(square, splat16(np.float32(beta2))))
    root = add(div(sqrt(square), splat16(correction)), splat16(eps))
    return add(mul(value, splat16(decay)), div(mul(splat16(-size), mean), root)), mean, square


@kernel
def adamw(
    value_: FloatsAt,
    gradient_: FloatsAt,
    mean_: FloatsAt,
    square_: FloatsAt,
    work_: FloatsAt,
    begin: int,
    end: int,
    decay: float,
    weight: float,
    beta2: float,
    correction: float,
    eps: float,
    size: float,
) -> int:
    """The numbers begin to end - 1. ``value`` is multiplied by ``decay`` (1 - lr x weight decay) and reduced by
    ``size`` x mean / (sqrt(square) / correction + eps). ``weight`` is 1 - beta1, ``work_`` has 4 WIDE numbers."""
    floats = np.float32(decay), np.float32(weight), beta2, np.float32(correction), np.float32(eps), np.float32(size)
    at = begin
    while at + WIDE <= end:
        value, mean, square = _updated(
            load16(value_, at), load16(gradient_, at), load16(mean_, at), load16(square_, at), floats
        )
        store(value_, at, value)
        store(mean_, at, mean)
        store(square_, at, square)
        at += WIDE
    if at < end:  # in the workspace; what it has behind the last number is computed too and dropped
        for i in range(end - at):
            put(work_, i, item(value_, at + i))
            put(work_, WIDE + i, item(gradient_, at + i))
            put(work_, 2 * WIDE + i, item(mean_, at + i))
            put(work_, 3 * WIDE + i, item(square_, at + i))
        value, mean, square = _updated(
            load16(work_, 0), load16(work_, WIDE), load16(work_, 2 * WIDE), load16(work_, 3 * WIDE), floats
        )
        store(work_, 0, value)
        store(work_, WIDE, mean)
        store(work_, 2 * WIDE, square)
        for i in range(end - at):
            put(value_, at + i, item(work_, i))
            put(mean_, at + i, item(work_, WIDE + i))
            put(square_, at + i, item(work_, 2 * WIDE + i))
    return 0
