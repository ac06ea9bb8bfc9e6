"""The cost of a run before it starts: parameters, operations, memory, time; and what to change if memory is limited.

Memory is what this process holds already (Python, libraries, model, data), after training on one sequence, so that it
includes what is loaded on first use; and what one update's tensors hold, from `nlpkit.training.planning.simulate`. Time
is measured on a few batches. Nothing is written.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nlpkit
from nlpkit.base.errors import UserError, choose
from nlpkit.base.world import COMMANDS, world
from nlpkit.data.order import Epochs, Part, Read
from nlpkit.layers.block import stacks, use_checkpointing
from nlpkit.machine import heap
from nlpkit.machine.device import local_device
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective
from nlpkit.training import loop, optimizers
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.planning import estimate, simulate
from nlpkit.training.settings import Settings

HOLES = 0.5  # fragmentation, as a fraction of what is allocated and freed on the heap: 0.2 to 2 (benchmarks/plan.py)
SAMPLE_TOKENS, SAMPLES, SECONDS = 2048, 5, 3.0  # of a measured batch; how often it is measured, and for how long
NOWHERE = Path("nlpkit-plan.safetensors")  # stands in for an output that was not named: nothing is written
_MEASURED: ContextVar[bool] = ContextVar("measured", default=True)
_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)


def plan(command: str, options: Mapping[str, Any], *, memory: str | None = None) -> dict[str, Any]:
    """What `nlpkit.<command>(**options)` would cost, as its ``dry_run`` says. With ``memory`` ("2G", "800M") also what
    to change so that it fits: checkpointing, which changes no byte; then smaller batches that make the same updates,
    equal to 1e-6. Errors: a command that does not train, a size that is none, a run that does not fit at all."""
    choose(dict.fromkeys(COMMANDS), command, field="command")
    options = {"output": NOWHERE, **options}
    token = _LIMIT.set(None if memory is None else size_of(memory))
    try:
        result: dict[str, Any] = getattr(nlpkit, command)(**{**options, "dry_run": True})
    finally:
        _LIMIT.reset(token)
    return {**result, "output": None} if options["output"] == NOWHERE else result


@contextmanager
def unmeasured() -> Iterator[None]:
    """Inside the block a dry run checks its options and inputs, and estimates no cost."""
    token = _MEASURED.set(False)
    try:
        yield
    finally:
        _MEASURED.reset(token)


def size_of(text: str) -> int:
    """Bytes of "800M", "2G", "1.5GB" (powers of 1,000, as sizes are printed) or "2GiB". Errors: anything else."""
    units = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
    number = text.strip().upper().removesuffix("B")
    unit = next((unit for unit in sorted(units, key=len, reverse=True) if number.endswith(unit)), "")
    try:
        size = float(number.removesuffix(unit)) * units[unit]
    except (KeyError, ValueError):
        size = math.nan
    if not 0 < size < math.inf:
        raise UserError(f'memory is "{text}", expected a size such as 800M, 2G or 2GiB')
    return int(size)


@dataclass(frozen=True)
class Way:
    """One way to compute the same run, and the memory it needs."""

    data: Epochs
    settings: Settings
    update: simulate.Update
    memory: int

    def says(self, original: Epochs) -> dict[str, Any]:
        """The entry of ``tried``."""
        return {
            "batch_tokens": self.data.batch_tokens,
            "accumulate": self.data.accumulate,
            "checkpointing": self.settings.checkpointing,
            "memory_bytes": self.memory,
            "operations_per_step": self.operations,
            "same_bytes": self.data.accumulate == original.accumulate,
        }

    @property
    def operations(self) -> float:
        """Operations of an update of mean size."""
        lengths, batches = self.data.lengths, max(1, len(self.data.plan(0)))
        simulated = sum(int(lengths[piece].sum()) for piece in largest(self.data, self.settings.parts))
        return self.update.operations / simulated * float(lengths.sum()) / batches


def cost(
    model: Model, objective: Objective, data: Epochs, settings: Settings, *, measures: bool = False
) -> dict[str, Any]:
    """Estimates of a training run in one process. ``measures``: a copy of the best weights is held as well.

    ``memory_bytes`` is of the whole process, ``seconds`` of the updates alone. Where `plan` has set a limit, the first
    way that fits is taken: ``tried`` are all until then, and ``change`` are the options it needs. Errors: UserError
    where none fits, or in one of several processes.
    """
    if world().size > 1:
        raise UserError(
            f"a plan is made by one process, and {world().size} were started",
            hint="leave out torchrun; --parts says in how many pieces each batch is computed",
        )
    if not _MEASURED.get():
        return {}
    limit, device = _LIMIT.get(), local_device(settings.device)
    for network in (model, getattr(objective, "teacher", None)):
        if network is not None:
            network.to(device)
    learn_from(model, objective, settings, data.make(shortest(data), 0))
    heap.trim()
    base, most = heap.held(), heap.most_held()
    tried: list[Way] = []
    for way in ways(data, settings, both=bool(stacks(model))):
        tried.append(_needs(model, objective, *way, base=base, most=most, measures=measures))
        if limit is None or tried[-1].memory <= limit:
            break
    chosen = tried[-1]
    if limit is not None and chosen.memory > limit:
        least = min(reversed(tried), key=lambda way: way.memory)
        raise UserError(
            f"needs {least.memory / 1e9:.2f} GB even with {_flags(least, data)}, and has {limit / 1e9:.2f} GB",
            hint="a smaller --size, --max-len or vocabulary, an optimizer with less state, or --parallel fsdp",
        )
    per_token, per_update = times(model, objective, chosen)
    tokens, updates = int(data.lengths.sum()), max(1, len(data.plan(0)))
    seconds = (per_token * tokens / updates + per_update) * settings.steps
    estimates = {
        "parameters": estimate.parameters(model),
        "trained_parameters": trained(model),
        "steps": settings.steps,
        "sequences": len(data.lengths),
        "tokens_per_epoch": tokens,
        "tokens_per_step": round(tokens / updates),
        "operations_per_step": round(chosen.operations),
        "memory_bytes": chosen.memory,
        "seconds": round(seconds, 3),
    }
    if limit is None:
        return estimates
    original, taken = tried[0].says(data), chosen.says(data)
    change = {
        name: taken[name] for name in ("batch_tokens", "accumulate", "checkpointing") if taken[name] != original[name]
    }
    return {**estimates, "memory_limit": limit, "change": change, "tried": [way.says(data) for way in tried]}


def ways(data: Epochs, settings: Settings, *, both: bool = True) -> Iterator[tuple[Epochs, Settings]]:
    """Ways to compute a run: first as requested, then those that need less memory: the same bytes as long as possible,
    then batches halved and halved again, as long as the longest sequence fits in one. ``both``: with checkpointing as
    well, which not every model supports."""
    pieces, longest = 1, int(data.lengths.max())
    while data.batch_tokens % pieces == 0 and (pieces == 1 or data.batch_tokens // pieces >= longest):
        smaller = Epochs(
            data.lengths,
            data.make,
            batch_tokens=data.batch_tokens // pieces,
            seed=data.seed,
            accumulate=data.accumulate * pieces,
        )
        for checkpointing in sorted({settings.checkpointing, settings.checkpointing or both}):
            yield smaller, replace(settings, checkpointing=checkpointing)
        pieces *= 2


def largest(data: Epochs, parts: int) -> list[Any]:
    """The examples of the largest batch of the first epoch; twice where an update adds several up."""
    updates = data.plan(0)[:2000]
    batches = (piece for update in updates for part in data.pieces(update, parts) for piece in part if len(piece))
    batch = max(batches, key=lambda piece: int(data.lengths[piece].sum()))
    return [batch] * (2 if data.accumulate > 1 else 1)


def shortest(data: Epochs) -> Any:
    """The example that costs least."""
    return np.array([int(np.argmin(data.lengths))])


def trained(model: Model) -> int:
    """Number of trainable parameters; tied weights count once."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


def _needs(
    model: Model, objective: Objective, data: Epochs, settings: Settings, *, base: int, most: int, measures: bool
) -> Way:
    """The memory of the process: what it holds now, ``base``, and the peak so far, ``most``; the peak of the tensors
    and the holes between them; a gradient for each doubling of the parts; the best weights."""
    pieces = [Part(data.make(examples, 0)) for examples in largest(data, settings.parts)]
    update = simulate.update(model, objective, pieces, settings)
    holes = 0 if settings.checkpointing else HOLES * update.heaped
    doublings = math.ceil(math.log2(settings.parts))
    more = 4 * (doublings * trained(model) + (estimate.parameters(model) if measures else 0))
    memory = max(base + update.peak - update.weights + round(holes) + more, most)
    return Way(data, settings, update, memory)


def learn_from(model: Model, objective: Objective, settings: Settings, batch: Any) -> None:
    """A forward, a backward, and the update of one parameter, to load what a run loads on first use."""
    model.train()
    use_checkpointing(model, settings.checkpointing)
    gradients = Local(model, 1)
    alone = replace(settings, parts=1)
    loop.forward_backward(model, objective, Read([[Part(batch)]], 0, {}), alone, 0, gradients)
    name = min(
        (name for name, value in gradients.parameters.items() if value.grad is not None),
        key=lambda name: gradients.parameters[name].numel(),
    )
    optimizers.make(model, {name: gradients.parameters[name]}, alone).update(0.0)
    for value in gradients.parameters.values():
        value.grad = None


def times(model: Model, objective: Objective, way: Way) -> tuple[float, float]:
    """Seconds per token for forward and backward, and seconds per optimizer update. Changes the weights."""
    data, settings = way.data, way.settings
    (first, *_), *_ = data.pieces(data.plan(0)[0], settings.parts)
    n_sequences = max(1, int(np.searchsorted(np.cumsum(data.lengths[first]), SAMPLE_TOKENS, side="right")))
    batch = data.make(first[:n_sequences], 0)
    heap.give_back(settings.checkpointing)
    # On one thread CPU time: the current load of the machine says nothing of the run.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    learning: list[float] = []
    updating: list[float] = []
    began = clock()
    gradients = Local(model, 1)
    optimizer = optimizers.make(model, gradients.parameters, settings)
    model.train()
    use_checkpointing(model, settings.checkpointing)
    while len(learning) < 2 or (len(learning) < SAMPLES and clock() - began < SECONDS):
        start = clock()
        read = Read([[Part(batch)]], 0, {})
        computed = loop.forward_backward(model, objective, read, replace(settings, parts=1), 0, gradients)
        middle = clock()
        loop.update(gradients.parameters, optimizer, settings, 0, computed.sums)
        learning.append(middle - start)
        updating.append(clock() - middle)
    heap.give_back(False)
    return statistics.median(learning[1:]) / batch.packing.total, statistics.median(updating[1:])


def _flags(way: Way, original: Epochs) -> str:
    """The flags that a way adds to a command."""
    words = ["--checkpointing"] if way.settings.checkpointing else []
    if way.data.accumulate != original.accumulate:
        words += [f"--batch-tokens {way.data.batch_tokens}", f"--accumulate {way.data.accumulate}"]
    return " ".join(words) or "the options as they are"
