"""What a training run is told, checked before it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nlpkit.errors import UserError, choose, refuse


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run of the loop. Units are in the names; absent is None.

    steps: updates of the weights; 0 leaves them as they are. warmup_fraction: share of the steps in which the learning
    rate rises linearly. eval_every, save_every, log_every: steps between two (None: evaluation at the end only, saving
    once a minute). patience: evaluations without a better score after which training stops (None: never). parts: in
    which each batch is computed, shared by the processes; parallel: how these share a model ("ddp": each has it whole;
    "fsdp": each a share of every weight). precision: of products (nlpkit/training/precision.py). checkpointing: whether
    blocks are computed again for the backward.
    """

    steps: int
    lr: float = 5e-4
    schedule: str = "linear"
    warmup_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    adam_eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    eval_every: int | None = None
    patience: int | None = None
    log_every: int = 10
    save_every: int | None = None
    seed: int = 0
    device: str = "cpu"
    parts: int = 1
    parallel: str | None = None
    precision: str = "float32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot train. Errors: UserError naming the flag, what came and what was expected."""
        choose(SCHEDULES, self.schedule, field="schedule")
        for flag, value, low, high in (
            ("steps", self.steps, 0, None),
            ("lr", self.lr, 0, None),
            ("warmup-fraction", self.warmup_fraction, 0, 1),
            ("adam-eps", self.adam_eps, 0, None),
            ("weight-decay", self.weight_decay, 0, None),
            ("clip-norm", self.clip_norm, 0, None),
            ("eval-every", self.eval_every, 1, None),
            ("patience", self.patience, 1, None),
            ("log-every", self.log_every, 1, None),
            ("save-every", self.save_every, 1, None),
            ("parts", self.parts, 1, None),
        ):
            if value is not None and not (value >= low and (high is None or value <= high)):
                expected = f"at least {low}" if high is None else f"{low} to {high}"
                raise UserError(f"{flag} is {value}, expected {expected}")
        for flag, decay in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= decay < 1:  # with 1 the moments would stay 0 for ever
                raise UserError(f"{flag} is {decay}, expected 0 to less than 1")

    def lr_at(self, step: int) -> float:
        """The learning rate of update ``step`` (from 0)."""
        warmup = round(self.warmup_fraction * self.steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * SCHEDULES[self.schedule](step, warmup, self.steps)


def check_parallel(parallel: str | None, size: int) -> None:
    """Errors: an unknown way, or one that is of no use because one process (of ``size``) trains."""
    if parallel is not None:
        choose(PARALLEL, parallel, field="parallel")
        if size == 1:
            refuse(
                {"parallel": parallel}, "one process trains", hint="start several with torchrun, docs/distributed.md"
            )


def check_dev(options: Mapping[str, Any]) -> None:
    """Refuse options that only a measurement reads when there is nothing to measure on."""
    if options["dev"] is None:
        given = {name: options.get(name) for name in ("metric", "eval_every", "patience")}
        refuse(given, "nothing is measured", hint="give data to measure on with --dev")


PARALLEL = {"ddp": "every process has the whole model", "fsdp": "every process has a share of each weight"}


def _constant(step: int, warmup: int, steps: int) -> float:
    return 1.0


def _linear(step: int, warmup: int, steps: int) -> float:
    """To zero after the last update (Devlin et al. 2019, appendix A.2)."""
    return (steps - step) / max(1, steps - warmup)


def _cosine(step: int, warmup: int, steps: int) -> float:
    """Half a cosine to zero (Loshchilov and Hutter 2017, equation 5, one cycle)."""
    from math import cos, pi

    return 0.5 * (1 + cos(pi * (step - warmup) / max(1, steps - warmup)))


def _inverse_sqrt(step: int, warmup: int, steps: int) -> float:
    """With the square root of the step (Vaswani et al. 2017, equation 3), equal to the peak at the end of warm-up."""
    return float((max(1, warmup) / max(1, step + 1, warmup)) ** 0.5)


SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "inverse-sqrt": _inverse_sqrt,
}
