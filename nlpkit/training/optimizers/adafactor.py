"""Adafactor (Shazeer and Stern 2018, "Adafactor: Adaptive learning rates with sublinear memory cost", algorithm 4): of
a matrix only the row means and column means of the second moment are stored, so the state is two vectors in place of
two matrices.

Shapes: R rows of a matrix, C columns.
Deviations: the step is the schedule's learning rate, and not relative to the size of the parameters (section 8), so
that --lr means the same as with other optimizers; weight decay is AdamW's, on matrices only. There is no first moment
unless beta1 is set (section 9; it takes as much memory as the parameters).
"""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nlpkit.training.optimizers.base import State, Stateful, gathered, shard_of
from nlpkit.training.parallel.gradients import Parameters, gradient_norm
from nlpkit.training.settings import Settings

DECAY = 0.8  # the second moment's decay at update t is 1 - t^-0.8 (section 7.2)
EPS = 1e-30  # added to squares
LARGEST = 1.0  # root mean square of an update before it is scaled by the learning rate (section 6)


class Adafactor(Stateful):
    """The state of a matrix is ``rows`` [R] and ``columns`` [C]; of anything else ``squares``, of its shape."""

    options: ClassVar[frozenset[str]] = frozenset({"beta1"})
    defaults: ClassVar[dict[str, float]] = {}  # no first moment

    def __init__(self, parameters: Parameters, settings: Settings, matrices: Collection[str] = ()) -> None:
        super().__init__(parameters)
        self.beta1, self.weight_decay = settings.beta1, settings.weight_decay

    def begin(self, name: str, like: Tensor) -> State:
        state: State = {"step": torch.tensor(0.0)}
        if like.ndim == 2:
            state["rows"] = torch.zeros(like.shape[0], device=like.device)
            state["columns"] = torch.zeros(like.shape[1], device=like.device)
        else:
            state["squares"] = torch.zeros_like(like)
        if self.beta1 is not None:
            state["exp_avg"] = torch.zeros_like(like)
        return state

    @torch.no_grad()
    def update(self, lr: float) -> None:
        for parameter, gradient, state in self.with_gradients().values():
            state["step"] += 1
            decay = 1 - float(state["step"]) ** -DECAY
            step = self._scaled(gathered(gradient), gradient, state, decay)
            size = gradient_norm([step]) / sqrt(step.numel())
            step = shard_of(step.mul_(lr / max(1.0, size / LARGEST)), parameter)
            if self.beta1 is not None:
                step = state["exp_avg"].lerp_(step, 1 - self.beta1)
            if parameter.ndim >= 2:
                parameter.mul_(1 - lr * self.weight_decay)
            parameter.sub_(step)

    def _scaled(self, whole: Tensor, gradient: Tensor, state: State, decay: float) -> Tensor:
        """The gradient over the root of its second moment, whole."""
        squares = whole * whole + EPS
        if whole.ndim != 2:
            state["squares"].lerp_(shard_of(squares, gradient), 1 - decay)
            return whole / gathered(state["squares"]).sqrt()
        rows = len(squares)
        state["rows"].lerp_(squares.mean(1), 1 - decay)
        # Sums down the columns as a product with ones: torch splits a column sum among threads (nlpkit/layers/norm.py).
        state["columns"].lerp_((squares.new_ones(1, rows) @ squares)[0] / rows, 1 - decay)
        mean = float(np.mean(state["rows"].double().cpu().numpy()))
        return whole * (state["rows"] / mean).rsqrt()[:, None] * state["columns"].rsqrt()
