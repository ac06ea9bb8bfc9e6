"""THE training loop. Pre-training, fine-tuning and distillation give it an objective; none has another.

A step: read ``accumulate`` batches, let the objective corrupt them, count their answers, run each forward and
backward with its share of the whole, clip, update. Everything random in a step is a function of (seed, step) or of
(seed, epoch, example), so a run that was killed and resumed computes what it would have computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from nlpkit import events
from nlpkit.artifact.provenance import Run
from nlpkit.data.batch import Batch
from nlpkit.data.order import Source
from nlpkit.errors import Interrupted, RunError
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective
from nlpkit.seeds import Address
from nlpkit.training import estimate, resume
from nlpkit.training import optimizer as optim
from nlpkit.training.settings import Settings
from nlpkit.training.stop import StopSignal

SAVE_SECONDS = 60.0  # between two saves when no number of steps was given


@dataclass(frozen=True)
class Evaluation:
    """What was measured during training. ``score`` chooses the best weights: larger is better."""

    score: float
    metrics: dict[str, float]


@dataclass
class Losses:
    """Sums and counts of each term since the last report."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, sums: dict[str, float], counts: dict[str, int], tokens: int) -> None:
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + counts[name]
        self.tokens += tokens

    def means(self) -> dict[str, float]:
        return {name: value / max(1, self.counts[name]) for name, value in self.sums.items()}


def train(
    model: Model,
    objective: Objective,
    source: Source,
    settings: Settings,
    run: Run,
    *,
    evaluate: Callable[[Model], Evaluation] | None = None,
) -> resume.Progress:
    """Train ``model`` in place, from the start or from where an unfinished run was saved.

    With ``evaluate`` the model ends with the weights of its best evaluation, else with the last ones. Errors: RunError
    when the loss or the gradients stop being numbers; Interrupted (exit 130) after Ctrl-C or SIGTERM, state saved.
    """
    model.to(settings.device)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = optim.adamw(parameters, settings)
    progress, best = resume.Progress(), dict[str, np.ndarray]()
    if saved := resume.load(run):
        progress, best = saved.progress, {name: np.array(value) for name, value in saved.best.items()}
        load_weights(model, saved.model)
        optim.load_state(optimizer, parameters, saved.optimizer, progress.step)

    def save() -> None:
        moments = optim.state_tensors(optimizer, parameters)
        resume.save(run, progress, model=weights(model), optimizer=moments, best=best)

    events.emit(
        "training", **run.provenance(), output=run.output.name, parameters=estimate.parameters(model),
        step=progress.step, steps=settings.steps,
    )  # fmt: skip
    batches = source.batches(progress.position)
    losses, last_save = Losses(), time.monotonic()
    with StopSignal() as stop:
        while progress.step < settings.steps and not progress.stopped:
            model.train()
            torch.manual_seed(Address(settings.seed, ("dropout", progress.step)).torch_seed())
            micro = [next(batches) for _ in range(settings.accumulate)]
            sums, counts = forward_backward(model, objective, [item[:2] for item in micro], settings)
            norm = update(parameters, optimizer, settings, progress.step, sums)
            progress.step += 1
            progress.position = micro[-1][2]
            losses.add(sums, counts, sum(item[0].packing.total for item in micro))
            if progress.step % settings.log_every == 0 or progress.step == settings.steps:
                losses = report(losses, progress.step, settings, norm, objective)
            if evaluate and due(progress.step, settings) and judge(progress, evaluate(model), settings):
                best = {name: np.array(value) for name, value in weights(model).items()}
            every = settings.save_every
            timely = time.monotonic() - last_save >= SAVE_SECONDS if every is None else progress.step % every == 0
            if stop.asked or (timely and progress.step < settings.steps):
                save()
                last_save = time.monotonic()
            if stop.asked and progress.step < settings.steps:
                raise Interrupted(
                    f"interrupted at step {progress.step:,} of {settings.steps:,}",
                    where=run.output,
                    hint="the same command again goes on from here",
                )
    if best:
        load_weights(model, best)
    model.eval()
    return progress


def forward_backward(
    model: Model, objective: Objective, micro: list[tuple[Batch, int]], settings: Settings
) -> tuple[dict[str, float], dict[str, int]]:
    """Gradients of one update, from one or more batches; returns each term's sum of losses and number of answers.

    The counts of all batches are known before the first backward, so every answer weighs the same whatever batch
    it is in (a mean of means would favour short batches).
    """
    prepared = [objective.corrupt(batch, Address(settings.seed, ("objective", epoch))) for batch, epoch in micro]
    counts: dict[str, int] = {}
    for _, target in prepared:
        for name, count in target.counts.items():
            counts[name] = counts.get(name, 0) + count
    sums = dict.fromkeys(counts, 0.0)
    for batch, target in prepared:
        output = model(batch.to(settings.device), layers=objective.layers)
        terms = objective.loss(output, target.to(settings.device))
        loss = sum(objective.weights[name] / max(1, counts[name]) * value for name, value in terms.items())
        torch.autograd.backward([torch.as_tensor(loss)])
        for name, value in terms.items():
            sums[name] += value.item()
    return sums, counts


def update(
    parameters: optim.Parameters, optimizer: torch.optim.AdamW, settings: Settings, step: int, sums: dict[str, float]
) -> float:
    """Clip and apply the gradients; returns their norm before clipping."""
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    norm = optim.clip(gradients, settings.clip_norm)
    if not (math.isfinite(norm) and all(math.isfinite(value) for value in sums.values())):
        bad = [name for name, value in sums.items() if not math.isfinite(value)]
        what = f"the loss ({', '.join(bad)})" if bad else "the gradient"
        raise RunError(
            f"{what} is not a number at step {step + 1:,}",
            hint="a smaller --lr, a longer warm-up or a smaller --clip-norm usually helps",
        )
    for group in optimizer.param_groups:
        group["lr"] = settings.lr_at(step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def due(step: int, settings: Settings) -> bool:
    """Whether to evaluate after this step: every ``eval_every``, and always after the last."""
    return step == settings.steps or (settings.eval_every is not None and step % settings.eval_every == 0)


def judge(progress: resume.Progress, found: Evaluation, settings: Settings) -> bool:
    """Enter an evaluation; True when it is the best so far. Out of patience, the run is marked as stopped."""
    better = progress.best_score is None or found.score > progress.best_score
    if better:
        progress.best_score, progress.best_step, progress.stale = found.score, progress.step, 0
    else:
        progress.stale += 1
        progress.stopped = settings.patience is not None and progress.stale >= settings.patience
    events.emit("evaluation", step=progress.step, metrics=found.metrics, score=found.score, best=better)
    if progress.stopped:
        events.note(f"stopped at step {progress.step:,}: no better score in {progress.stale} evaluations")
    return better


def report(losses: Losses, step: int, settings: Settings, norm: float, objective: Objective) -> Losses:
    """Say how it goes; returns fresh sums."""
    means = losses.means()
    total = sum(objective.weights[name] * value for name, value in means.items())
    seconds = max(1e-9, time.monotonic() - losses.began)
    events.emit(
        "step", step=step, steps=settings.steps, loss=total, losses=means, lr=settings.lr_at(step - 1),
        gradient_norm=norm, tokens=losses.tokens, tokens_per_second=losses.tokens / seconds,
    )  # fmt: skip
    return Losses()


def weights(model: Model) -> dict[str, np.ndarray]:
    """The model's tensors by canonical name."""
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}


def load_weights(model: Model, tensors: resume.Arrays) -> None:
    """The way back."""
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
