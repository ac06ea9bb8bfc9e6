"""The training loop. Pre-training, fine-tuning and distillation all use it, each with its own objective.

A step: read its ``accumulate`` batches, let the objective corrupt them, count their targets, run forward and backward
of each with its weight in the mean, clip, update. Everything random in a step is a function of (seed, step) or of
(seed, epoch, example), so a run that was killed and resumed computes what it would have computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from nlpkit.artifact.provenance import Run
from nlpkit.artifact.resume import Saves
from nlpkit.base import events
from nlpkit.base.errors import Diverged
from nlpkit.base.seeds import Address
from nlpkit.base.stop import StopSignal
from nlpkit.base.world import world
from nlpkit.data.batch import Batch
from nlpkit.data.order import Read, Source
from nlpkit.kernels import cost
from nlpkit.layers.block import use_checkpointing
from nlpkit.machine import heap
from nlpkit.machine.device import local_device, seed
from nlpkit.models.base import Model
from nlpkit.models.load import own_tensors
from nlpkit.objectives.base import Objective, Target
from nlpkit.training import optimizers, precision, resume
from nlpkit.training.compiling import compile_parts
from nlpkit.training.optimizers.base import Optimizer
from nlpkit.training.parallel import distributed
from nlpkit.training.parallel import gradients as grads
from nlpkit.training.parallel.reduction import Local, Replicated
from nlpkit.training.parallel.sharded import Sharded
from nlpkit.training.planning import estimate
from nlpkit.training.settings import Settings


@dataclass(frozen=True)
class Evaluation:
    """Metrics on held-out data during training. ``score`` selects the best weights: larger is better."""

    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Computed:
    """Results of a step: each term's sum of losses and number of targets, and the tokens, over all processes; the
    floating-point operations of this process."""

    sums: dict[str, float]
    counts: dict[str, int]
    tokens: int
    operations: float


@dataclass
class Losses:
    """Sums and counts of each term since the last report."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    operations: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def add(self, computed: Computed) -> None:
        for name, value in computed.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + computed.counts[name]
        self.tokens += computed.tokens
        self.operations += computed.operations

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

    With ``evaluate`` the model ends with the weights of its best evaluation, else with the last ones. Errors: Diverged
    when the loss or the gradients stop being numbers; Interrupted (exit 130) after Ctrl-C or SIGTERM, state saved.
    """
    device = local_device(settings.device)
    distributed.join(device)
    saved = resume.load(run)
    distributed.agree(run, saved.progress.step if saved else 0)
    model.to(device)
    use_checkpointing(model, settings.checkpointing)
    if settings.compile:
        compile_parts(model)
    heap.give_back(settings.checkpointing)
    gradients = reduction_for(model, settings, device)
    parameters = gradients.parameters
    optimizer = optimizers.make(model, parameters, settings)
    progress, best = resume.Progress(scale=precision.first_scale(settings.precision)), dict[str, np.ndarray]()
    if saved:
        progress = saved.progress
        best = {name: np.array(value) for name, value in saved.best.items()} if gradients.keeps else {}
        load_weights(model, saved.model)
        optimizer.load(saved.optimizer)

    def save() -> None:
        moments = distributed.whole_arrays(optimizer.state())
        resume.save(run, progress, model=weights(model), optimizer=moments, best=best)

    events.emit(
        "training",
        **run.provenance(),
        output=run.output.name,
        parameters=estimate.parameters(model),
        step=progress.step,
        steps=settings.steps,
    )
    batches = source.read(progress.position, settings.parts, gradients.parts)
    losses, saves, norm = Losses(), Saves(run, settings.save_every), 0.0
    with StopSignal() as stop, distributed.raising_lost():
        while progress.step < settings.steps and not progress.stopped:
            model.train()
            read = next(batches)
            computed = forward_backward(model, objective, read, settings, progress.step, gradients, progress.scale)
            if settings.precision == "float16" and not precision.unscale(progress, parameters, gradients.row_norms):
                optimizer.forget_gradients()
            else:
                norm = update(parameters, optimizer, settings, progress.step, computed.sums, gradients.row_norms)
            progress.step += 1
            progress.position = read.after
            losses.add(computed)
            events.emit("pace", step=progress.step, steps=settings.steps)
            if progress.step % settings.log_every == 0 or progress.step == settings.steps:
                losses = report(losses, progress.step, settings, norm, objective)
            if evaluate and due(progress.step, settings):
                paused = time.monotonic()
                if judge(progress, evaluate(model), settings):
                    best = {name: np.array(value) for name, value in weights(model).items()}
                losses.began += time.monotonic() - paused  # the speed is that of training, without evaluations
            # All processes must stop after the same step, and save when the clock of process 0 says so.
            flags = distributed.gather([float(stop.requested), float(saves.due(progress.step))])
            stopping, saving = any(stops for stops, _ in flags), bool(flags[0][1])
            unfinished = progress.step < settings.steps
            if stopping or (saving and unfinished):
                save()
                where = f"at step {progress.step:,} of {settings.steps:,}"
                saves.saved(stop=stopping and unfinished, where=where)
    with distributed.raising_lost():
        gradients.close(model)
    if best:
        load_weights(model, best)
    model.eval()
    use_checkpointing(model, False)
    heap.give_back(False)
    return progress


def reduction_for(model: Model, settings: Settings, device: str) -> Local:
    """How the gradients of the parts are summed: in this process, or among several."""
    if world().size == 1:
        return Local(model, settings.parts)
    return Sharded(model, settings.parts, device) if settings.parallel == "fsdp" else Replicated(model, settings.parts)


@dataclass(frozen=True)
class Work:
    """One forward and backward: batch ``number`` of part ``part`` of a step."""

    part: int
    number: int
    batch: Batch
    target: Target
    empty: bool


def forward_backward(
    model: Model,
    objective: Objective,
    read: Read,
    settings: Settings,
    step: int,
    gradients: Local,
    scale: float = 1.0,
) -> Computed:
    """Gradients of one update, times ``scale``, from one or more batches.

    ``read`` has this process's parts. The counts of all batches are known before the first backward, so every target
    weighs the same whatever batch or part it is in (a mean of means would favour short batches). Each part has its own
    dropout seed, so that the result does not depend on which process computes it.
    """
    device = local_device(settings.device)
    tasks = prepare(objective, read, settings, gradients)
    counts, tokens = count(tasks, objective)
    sums, before = dict.fromkeys(counts, 0.0), cost.counted()
    address = Address(settings.seed, ("dropout", step))
    seed(address.torch_seed(), device)
    for index, task in enumerate(tasks):
        following = tasks[index + 1].part if index + 1 < len(tasks) else None
        gradients.backward_next(task.part, last_of_part=following != task.part, last=following is None)
        if settings.parts > 1:
            seed(address.at(task.number, task.part).torch_seed(), device)
        with precision.computing(settings.precision, device):
            output = model(task.batch.to(device), layers=objective.layers, wanted=task.target.wanted)
            terms = objective.loss(output, task.target.to(device))
        weighted = (objective.weights[name] * scale / max(1, counts[name]) * value for name, value in terms.items())
        torch.autograd.backward([torch.as_tensor(sum(weighted) * 0.0 if task.empty else sum(weighted))])
        if not task.empty:
            for name, value in terms.items():
                sums[name] += number(value)
        if following != task.part:
            gradients.part_done(task.part)
    gradients.finish()
    totals = distributed.total(list(sums.values()))
    return Computed(dict(zip(sums, totals, strict=True)), counts, tokens, float(cost.counted() - before))


def number(value: Tensor) -> float:
    """A loss as a float; 0 where tensors have no values (`nlpkit.training.planning.simulate`)."""
    return 0.0 if isinstance(value, FakeTensor) else value.item()


def prepare(objective: Objective, read: Read, settings: Settings, gradients: Local) -> list[Work]:
    """What this process computes in a step: part by part, all batches of each."""
    works = []
    for part, pieces in zip(gradients.parts, read.parts, strict=True):
        for number, piece in enumerate(pieces):
            if piece.empty and not gradients.empties:
                continue
            batch, target = objective.corrupt(piece.batch, Address(settings.seed, ("objective", read.epoch)))
            works.append(Work(part, number, batch, target, piece.empty))
    return works


def count(tasks: list[Work], objective: Objective) -> tuple[dict[str, int], int]:
    """Targets of each term, and tokens, over all parts of a step; the same in every process."""
    counts: dict[str, int] = {}
    for task in tasks:
        for name, targets in task.target.counts.items():
            counts[name] = counts.get(name, 0) + (0 if task.empty else targets)
    tokens = sum(task.batch.packing.total for task in tasks if not task.empty)
    if world().size == 1:
        return counts, tokens
    # A process without sequences does not know which terms there are, and sends -1 for each.
    names = list(objective.weights)
    mine = [float(counts.get(name, -1)) for name in names]
    *columns, all_tokens = zip(*distributed.gather([*mine, float(tokens)]), strict=True)
    known = {name: [int(value) for value in column if value >= 0] for name, column in zip(names, columns, strict=True)}
    return {name: sum(values) for name, values in known.items() if values}, int(sum(all_tokens))


def update(
    parameters: grads.Parameters,
    optimizer: Optimizer,
    settings: Settings,
    step: int,
    sums: dict[str, float],
    rows: grads.RowNorms = grads.row_norms,
) -> float:
    """Clip and apply the gradients; returns their norm before clipping."""
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    norm = grads.clip(gradients, settings.clip_norm or None, rows)
    if not (math.isfinite(norm) and all(math.isfinite(value) for value in sums.values())):
        bad = [name for name, value in sums.items() if not math.isfinite(value)]
        what = f"the loss ({', '.join(bad)})" if bad else "the gradient"
        raise Diverged(
            f"{what} is not a number at step {step + 1:,}",
            hint="a smaller --lr, a longer warm-up or a smaller --clip-norm usually helps",
        )
    optimizer.update(settings.lr_at(step))
    optimizer.forget_gradients()
    return norm


def due(step: int, settings: Settings) -> bool:
    """Whether to evaluate after this step: every ``eval_every``, and always after the last."""
    return step == settings.steps or (settings.eval_every is not None and step % settings.eval_every == 0)


def judge(progress: resume.Progress, evaluation: Evaluation, settings: Settings) -> bool:
    """Record an evaluation; True when it is the best so far. Out of patience, the run is marked as stopped."""
    better = progress.best_score is None or evaluation.score > progress.best_score
    if better:
        progress.best_score, progress.best_step, progress.stale = evaluation.score, progress.step, 0
    else:
        progress.stale += 1
        progress.stopped = settings.patience is not None and progress.stale >= settings.patience
    events.emit("evaluation", step=progress.step, metrics=evaluation.metrics, score=evaluation.score, best=better)
    if progress.stopped:
        events.note(f"stopped at step {progress.step:,}: no better score in {progress.stale} evaluations")
    return better


def report(losses: Losses, step: int, settings: Settings, norm: float, objective: Objective) -> Losses:
    """Emit the means since the last report; returns empty sums."""
    means = losses.means()
    total = sum(objective.weights[name] * value for name, value in means.items())
    seconds = max(1e-9, time.monotonic() - losses.began)
    events.emit(
        "step",
        step=step,
        steps=settings.steps,
        loss=total,
        losses=means,
        lr=settings.lr_at(step - 1),
        gradient_norm=norm,
        tokens=losses.tokens,
        tokens_per_second=losses.tokens / seconds,
        operations=losses.operations,
    )
    return Losses()


def weights(model: Model) -> dict[str, np.ndarray]:
    """The model's tensors by canonical name, whole."""
    return distributed.whole_arrays({name: value.detach() for name, value in own_tensors(model).items()})


def load_weights(model: Model, tensors: resume.Arrays) -> None:
    """Copy saved tensors into the model."""
    state = own_tensors(model)
    assert state.keys() == tensors.keys(), "they were saved by the same command"
    for name, value in state.items():
        value.detach().copy_(distributed.like(tensors[name], value.detach()))
