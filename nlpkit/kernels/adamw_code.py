"""AdamW's update of some numbers, compiled: one pass over a parameter, its gradient and its moments, where torch's
functions make nine, and are called nine times for each small parameter.

Each number of a result is one written sequence of IEEE operations (nlpkit/machine/simd.py): the ones of
torch.optim.AdamW on a processor, but for the square root, which torch leaves to a library whose last bits are a matter
of the processor. `nlpkit.training.optimizers.adamw` calls this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import FloatsAt, inlined, kernel
from nlpkit.machine.simd import WIDE, add, div, fma, item, load16, mul, put, splat16, sqrt, store, sub


@inlined
def _moved(
    value: Any, slope: Any, mean: Any, square: Any, shrink: Any, share: Any, beta2: Any, spread: Any, eps: Any,
    size: Any,
) -> Any:  # fmt: skip
    """The value and both moments after an update, WIDE at a time."""
    far = sub(slope, mean)
    if share < np.float32(0.5):
        mean = fma(splat16(share), far, mean)
    else:
        mean = fma(splat16(share - np.float32(1.0)), far, slope)
    fresh = np.float32(1.0 - beta2)
    square = fma(mul(splat16(fresh), slope), slope, mul(square, splat16(np.float32(beta2))))
    root = add(div(sqrt(square), splat16(spread)), splat16(eps))
    return add(mul(value, splat16(shrink)), div(mul(splat16(-size), mean), root)), mean, square


@kernel
def adamw(
    value_: FloatsAt, slope_: FloatsAt, mean_: FloatsAt, square_: FloatsAt, room_: FloatsAt, begin: int, end: int,
    shrink: float, share: float, beta2: float, spread: float, eps: float, size: float,
) -> int:  # fmt: skip
    """The numbers begin to end - 1. ``value`` is multiplied by ``shrink`` (weight decay) and moves by ``size`` times
    mean / (sqrt(square) / spread + eps); ``share`` is 1 - beta1. ``room`` has 4 WIDE numbers."""
    decay, toward, over = np.float32(shrink), np.float32(share), np.float32(spread)
    least, step = np.float32(eps), np.float32(size)
    at = begin
    while at + WIDE <= end:
        value, mean, square = _moved(load16(value_, at), load16(slope_, at), load16(mean_, at), load16(square_, at),
                                     decay, toward, beta2, over, least, step)  # fmt: skip
        store(value_, at, value)
        store(mean_, at, mean)
        store(square_, at, square)
        at += WIDE
    if at < end:  # in the room, of which the rest is computed too and dropped
        for place in range(end - at):
            put(room_, place, item(value_, at + place))
            put(room_, WIDE + place, item(slope_, at + place))
            put(room_, 2 * WIDE + place, item(mean_, at + place))
            put(room_, 3 * WIDE + place, item(square_, at + place))
        value, mean, square = _moved(load16(room_, 0), load16(room_, WIDE), load16(room_, 2 * WIDE),
                                     load16(room_, 3 * WIDE), decay, toward, beta2, over, least, step)  # fmt: skip
        store(room_, 0, value)
        store(room_, WIDE, mean)
        store(room_, 2 * WIDE, square)
        for place in range(end - at):
            put(value_, at + place, item(room_, place))
            put(mean_, at + place, item(room_, WIDE + place))
            put(square_, at + place, item(room_, 2 * WIDE + place))
    return 0
