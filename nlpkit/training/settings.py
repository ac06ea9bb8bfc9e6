"""The settings of a training run, checked before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.training import optimizers
from nlpkit.training.options import OPTIONS, Training, check_limits
from nlpkit.training.schedules import DECAY_FRACTION, DECAYING, ENDLESS, SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """One run of the loop: the options of training, with the number of updates and of parts resolved.

    steps: updates of the weights; 0 leaves them as they are. warmup_fraction: fraction of the steps in which the
    learning rate rises linearly; decay_fraction: fraction in which it falls, for the schedules in `DECAYING` (None:
    0.2); final_lr_fraction: fraction of the peak at which it ends. momentum, beta1, beta2, adam_eps None: the
    optimizer's default. clip_norm 0: no clipping. eval_every, save_every, log_every: steps between two (None:
    evaluation at the end only, saving once a minute). patience: evaluations without a better score after which training
    stops (None: never). parts: number of parts of each batch, divided among the processes; parallel: "ddp" (each
    process has the whole model) or "fsdp" (each has a shard of every weight). precision: of products
    (nlpkit/training/precision.py). checkpointing: whether the backward recomputes the activations of blocks. compile:
    whether torch compiles parts of a model (nlpkit/training/compiling.py).
    """

    steps: int
    parts: int = 1

    def __post_init__(self) -> None:
        """Check the values. Errors: UserError naming the flag, its value and what was expected."""
        choose(SCHEDULES, self.schedule, field="schedule")
        readable = optimizers.kind(self.optimizer).options
        for name in ("momentum", "beta1", "beta2", "adam_eps"):
            if name not in readable:
                refuse({name: getattr(self, name)}, f"{self.optimizer} does not read it")
        if self.schedule not in DECAYING:
            refuse({"decay_fraction": self.decay_fraction}, f"schedule {self.schedule} does not read it")
        if self.schedule in ENDLESS:
            refuse({"final_lr_fraction": self.final_lr_fraction or None}, f"schedule {self.schedule} has no end")
        for flag, decay in (("beta1", self.beta1), ("beta2", self.beta2), ("momentum", self.momentum)):
            if decay is not None and not 0 <= decay < 1:  # with 1 the moments would stay 0
                raise UserError(f"{flag} is {decay}, expected 0 to less than 1")
        check_limits(vars(self))

    @classmethod
    def of(cls, options: Mapping[str, Any], **more: Any) -> Settings:
        """A stage's settings from its options, by name; ``more`` are those that the stage computes."""
        return cls(**{name: value for name, value in {**options, **more}.items() if name in OPTIONS})

    def lr_at(self, step: int) -> float:
        """The learning rate of update ``step`` (from 0)."""
        warmup = round(self.warmup_fraction * self.steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        decay = round((DECAY_FRACTION if self.decay_fraction is None else self.decay_fraction) * self.steps)
        height = SCHEDULES[self.schedule](step, warmup, self.steps, decay)
        return self.lr * (self.final_lr_fraction + (1 - self.final_lr_fraction) * height)


def check_parallel(parallel: str | None, size: int) -> None:
    """Errors: an unknown value, or any value when a single process trains; ``size`` is the number of processes."""
    if parallel is not None:
        choose(PARALLEL, parallel, field="parallel")
        if size == 1:
            refuse(
                {"parallel": parallel}, "one process trains", hint="start several with torchrun, docs/distributed.md"
            )


def check_dev(options: Mapping[str, Any]) -> None:
    """Refuse options that only an evaluation reads when there is no data for it."""
    if options["dev"] is None:
        dev_options = {name: options.get(name) for name in ("metric", "eval_every", "patience")}
        refuse(dev_options, "nothing is evaluated", hint="give data for evaluation with --dev")


PARALLEL = {"ddp": "every process has the whole model", "fsdp": "every process has a shard of each weight"}
