"""AdamW (Loshchilov and Hutter 2019, algorithm 2): torch's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlpkit.training.gradients import Parameters
from nlpkit.training.optimizers.base import Kept, Optimizer
from nlpkit.training.settings import Settings

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # where nothing is said


class AdamW(Optimizer):
    """Two moments a number. Weight decay on matrices only, not on biases and norms (Devlin et al. 2019, their code).

    The foreach implementation gives the same bits as the plain loop; the fused one does not, and is used where it is
    fast, on a GPU.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta1", "beta2", "adam_eps"})

    def __init__(self, parameters: Parameters, settings: Settings, matrices: Collection[str] = ()) -> None:
        super().__init__(parameters)
        self.fused = torch.device(settings.device).type == "cuda"
        two = [value for value in parameters.values() if value.ndim >= 2]
        one = [value for value in parameters.values() if value.ndim < 2]
        given: Any = [
            {"params": two, "weight_decay": settings.weight_decay},
            {"params": one, "weight_decay": 0.0},
        ]
        betas = (
            BETA1 if settings.beta1 is None else settings.beta1,
            BETA2 if settings.beta2 is None else settings.beta2,
        )
        self.torchs = torch.optim.AdamW(
            [group for group in given if group["params"]],
            lr=settings.lr,
            betas=betas,
            eps=EPS if settings.adam_eps is None else settings.adam_eps,
            foreach=not self.fused,
            fused=self.fused,
        )

    def begin(self, name: str, like: Tensor) -> Kept:
        return {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(like), "exp_avg_sq": torch.zeros_like(like)}

    def update(self, lr: float) -> None:
        for group in self.torchs.param_groups:
            group["lr"] = lr
        self.torchs.step()

    def passing(self) -> int:
        """The foreach implementation makes the divisors of all parameters at once."""
        return sum(value.numel() * value.element_size() for value in self.parameters.values())

    def kept(self, name: str) -> Kept:
        state: Kept = self.torchs.state.get(self.parameters[name], {})
        return state

    def keep(self, name: str, kept: Kept) -> None:
        parameter = self.parameters[name]
        step = kept["step"].to(parameter.device if self.fused else "cpu")
        self.torchs.state[parameter] = {**kept, "step": step}
