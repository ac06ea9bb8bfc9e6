"""Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"): the momentum of each matrix of
the blocks is orthogonalized, so that an update moves all directions alike; AdamW updates everything else.

The update of a matrix is scaled to the root mean square of AdamW's (Liu et al. 2025, "Muon is scalable for LLM
training", equation 4), so one learning rate and one weight decay serve both.

Shapes: M rows of a matrix, N columns, M <= N (else transposed).
Deviations: in float32 and not in bfloat16, which is slow on a CPU; for wide matrices the iteration runs on the M x M
products, which is the same in exact arithmetic and half the work.
"""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from nlpkit.training.optimizers.adamw import AdamW
from nlpkit.training.optimizers.base import Optimizer, State, Stateful, gathered, shard_of
from nlpkit.training.parallel.gradients import Parameters, gradient_norm
from nlpkit.training.settings import Settings

MOMENTUM = 0.95  # where nothing is said
STEPS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # of the polynomial a x + b x^3 + c x^5 (Jordan et al. 2024)
WIDE = 2.0  # N / M from which the M x M products are less work
# MKL's bits depend on the number of threads where a small matrix's sizes are no multiple (nlpkit/layers/linear.py).
_TILE = 16


class _Orthogonal(Stateful):
    """Muon's update of the matrices."""

    def __init__(self, parameters: Parameters, settings: Settings) -> None:
        super().__init__(parameters)
        self.momentum = MOMENTUM if settings.momentum is None else settings.momentum
        self.weight_decay = settings.weight_decay

    def begin(self, name: str, like: Tensor) -> State:
        return {"momentum": torch.zeros_like(like)}

    @torch.no_grad()
    def update(self, lr: float) -> None:
        for parameter, gradient, state in self.with_gradients().values():
            momentum = state["momentum"].lerp_(gradient, 1 - self.momentum)
            direction = gathered(gradient.lerp(momentum, self.momentum))  # Nesterov's
            step = orthogonal(direction).mul_(-lr * 0.2 * sqrt(max(parameter.shape)))
            parameter.mul_(1 - lr * self.weight_decay).add_(shard_of(step, parameter))


class Muon(Optimizer):
    """``matrices`` names the parameters that are matrices of the blocks."""

    options: ClassVar[frozenset[str]] = AdamW.options | {"momentum"}
    defaults: ClassVar[dict[str, float]] = {**AdamW.defaults, "momentum": MOMENTUM}

    def __init__(self, parameters: Parameters, settings: Settings, matrices: Collection[str]) -> None:
        super().__init__(parameters)
        first = {name: value for name, value in parameters.items() if name in matrices}
        rest = {name: value for name, value in parameters.items() if name not in matrices}
        self.of: dict[str, Optimizer] = {}
        self.both: list[Optimizer] = []
        for names, optimizer_type in ((first, _Orthogonal), (rest, AdamW)):
            if names:
                self.both.append(optimizer_type(names, settings))
                self.of |= dict.fromkeys(names, self.both[-1])

    def begin(self, name: str, like: Tensor) -> State:
        return self.of[name].begin(name, like)

    def update(self, lr: float) -> None:
        for optimizer in self.both:
            optimizer.update(lr)

    def state_of(self, name: str) -> State:
        return self.of[name].state_of(name)

    def set_state(self, name: str, state: State) -> None:
        self.of[name].set_state(name, state)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors whose singular values lie near 1, between 0.7 and 1.2 where they were not
    tiny: five steps of a Newton-Schulz iteration (Jordan et al. 2024), in float32. Zeros stay zeros."""
    rows, columns = matrix.shape
    x_MN = matrix.T if rows > columns else matrix
    rest = (-x_MN.shape[0] % _TILE, -x_MN.shape[1] % _TILE)
    x_MN = torch.nn.functional.pad(x_MN.float(), (0, rest[1], 0, rest[0]))
    x_MN = x_MN / max(gradient_norm([x_MN]), 1e-7)
    high, wide = x_MN.shape
    if wide >= WIDE * high:
        gram_MM = x_MN @ x_MN.T
        polynomial_MM = None
        for step in range(STEPS):
            factor_MM = torch.addmm(gram_MM, gram_MM, gram_MM, beta=B, alpha=C)
            factor_MM.diagonal().add_(A)
            polynomial_MM = factor_MM if polynomial_MM is None else polynomial_MM @ factor_MM
            if step + 1 < STEPS:  # all of them are polynomials of the first, so they commute
                gram_MM = factor_MM @ (factor_MM @ gram_MM)
        assert polynomial_MM is not None
        x_MN = polynomial_MM @ x_MN
    else:
        for _ in range(STEPS):
            gram_MM = x_MN @ x_MN.T
            factor_MM = torch.addmm(gram_MM, gram_MM, gram_MM, beta=B, alpha=C)
            x_MN = torch.addmm(x_MN, factor_MM, x_MN, beta=A)
    x_MN = x_MN[: min(rows, columns), : max(rows, columns)]
    return (x_MN.T if rows > columns else x_MN).to(matrix.dtype)
