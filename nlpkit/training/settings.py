"""What a training run is told, checked before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nlpkit.errors import UserError, choose, refuse
from nlpkit.training import optimizers
from nlpkit.training.schedules import DECAY_FRACTION, DECAYING, ENDLESS, SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run of the loop. Units are in the names; absent is None.

    steps: updates of the weights; 0 leaves them as they are. warmup_fraction: share of the steps in which the learning
    rate rises linearly; decay_fraction: of those in which it falls, where the schedule has a length of its own for that
    (None: 0.2); final_lr_fraction: share of the peak at which it ends. momentum, beta1, beta2, adam_eps None: what the
    optimizer does where nothing is said. eval_every, save_every, log_every: steps between two (None: evaluation at the
    end only, saving once a minute). patience: evaluations without a better score after which training stops (None:
    never). parts: in which each batch is computed, shared by the processes; parallel: how these share a model ("ddp":
    each has it whole; "fsdp": each a share of every weight). precision: of products (nlpkit/training/precision.py).
    checkpointing: whether blocks are computed again for the backward.
    """

    steps: int
    optimizer: str = "adamw"
    lr: float = 5e-4
    schedule: str = "linear"
    warmup_fraction: float = 0.1
    decay_fraction: float | None = None
    final_lr_fraction: float = 0.0
    momentum: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    adam_eps: float | None = None
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
        own = optimizers.kind(self.optimizer).options
        for name in ("momentum", "beta1", "beta2", "adam_eps"):
            if name not in own:
                refuse({name: getattr(self, name)}, f"{self.optimizer} does not read it")
        if self.schedule not in DECAYING:
            refuse({"decay_fraction": self.decay_fraction}, f"schedule {self.schedule} has no decay of its own length")
        if self.schedule in ENDLESS:
            refuse({"final_lr_fraction": self.final_lr_fraction or None}, f"schedule {self.schedule} has no end")
        for flag, value, low, high in (
            ("steps", self.steps, 0, None),
            ("lr", self.lr, 0, None),
            ("warmup-fraction", self.warmup_fraction, 0, 1),
            ("decay-fraction", self.decay_fraction, 0, 1),
            ("final-lr-fraction", self.final_lr_fraction, 0, 1),
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
        for flag, decay in (("beta1", self.beta1), ("beta2", self.beta2), ("momentum", self.momentum)):
            if decay is not None and not 0 <= decay < 1:  # with 1 the moments would stay 0 for ever
                raise UserError(f"{flag} is {decay}, expected 0 to less than 1")

    @classmethod
    def of(cls, options: Mapping[str, Any], **more: Any) -> Settings:
        """A stage's settings from its options, by name; ``more`` are those that it works out. A clip norm of 0 is
        none."""
        names = {item.name for item in fields(cls)}
        found = {name: value for name, value in {**options, **more}.items() if name in names}
        return cls(**{**found, "clip_norm": found["clip_norm"] or None})

    def lr_at(self, step: int) -> float:
        """The learning rate of update ``step`` (from 0)."""
        warmup = round(self.warmup_fraction * self.steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        decay = round((DECAY_FRACTION if self.decay_fraction is None else self.decay_fraction) * self.steps)
        share = SCHEDULES[self.schedule](step, warmup, self.steps, decay)
        return self.lr * (self.final_lr_fraction + (1 - self.final_lr_fraction) * share)


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
