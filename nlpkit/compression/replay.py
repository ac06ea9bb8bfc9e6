"""A teacher that runs once: its predictions are saved in a file and read again in every epoch.

For each prediction the file has the likeliest ``top`` pieces and their log-probabilities at the temperature; of a
classifier, all scores. So all epochs have the masks of the first. A classifier's student has the bytes that it would
have with the teacher in memory. A language model's student learns the saved pieces and, as one more class, the
probability of all other pieces together: only its division among them is lost.

The file lies beside the result while the run is unfinished, gets its name when it is complete, and is memory-mapped. A
resumed run reads it; one that was killed before the file was complete runs the teacher again.

Shapes: n sequences, M predictions, K saved pieces, V vocabulary or classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.artifact import atomic, file
from nlpkit.artifact.beside import predictions
from nlpkit.artifact.promise import promised
from nlpkit.artifact.provenance import Run, differences
from nlpkit.artifact.safetensors import FileTensor
from nlpkit.base import events
from nlpkit.base.abilities import Ability
from nlpkit.base.seeds import Address
from nlpkit.base.world import world
from nlpkit.compression.losses import soft_targets, soft_targets_of_top, wide
from nlpkit.compression.objectives import LanguageDistillation, TaskDistillation, vocabulary_losses
from nlpkit.data.batch import Batch
from nlpkit.data.order import Epochs
from nlpkit.layers.cross_entropy import CHUNK
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.linear import linear
from nlpkit.models.base import Output
from nlpkit.objectives.base import Target

Arrays = dict[str, NDArray[Any]]
Column = Callable[[str], BinaryIO]


@dataclass(frozen=True)
class Replay:
    """An objective that runs no teacher: rows ``starts[i]`` to ``starts[i + 1]`` of ``known`` are the teacher's
    predictions for example i."""

    objective: LanguageDistillation | TaskDistillation
    known: Arrays
    starts: NDArray[np.int64]

    name = "distill"
    layers = False

    @property
    def heads(self) -> tuple[str, ...]:
        return self.objective.heads

    @property
    def source(self) -> str:
        return self.objective.source

    @property
    def weights(self) -> Mapping[str, float]:
        return self.objective.weights

    @property
    def needs(self) -> frozenset[Ability]:
        return self.objective.needs

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        batch, target = self.objective.corrupt(batch, first_epoch(rng))
        examples = batch.examples.numpy()
        counts = self.starts[examples + 1] - self.starts[examples]
        rows = np.repeat(self.starts[examples] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        known = {f"known_{name}": torch.from_numpy(values[rows]) for name, values in self.known.items()}
        return batch, replace(target, fields={**target.fields, **known})

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        objective = self.objective
        if isinstance(objective, TaskDistillation):
            kl = soft_targets(objective.base.scores(output), target.fields["known_scores"], objective.temperature)
            if "hard" not in target.counts:
                return {"kl": kl}
            (hard,) = objective.base.loss(output, target).values()
            return {"kl": kl, "hard": hard}
        ids_MK, logs_MK = target.fields["known_ids"].long(), target.fields["known_logs"]

        def soft(logits_mV: Tensor, start: int) -> Tensor:
            chunk = slice(start, start + CHUNK)
            return soft_targets_of_top(logits_mV, ids_MK[chunk], logs_MK[chunk], objective.temperature)

        (head,) = objective.base.heads
        hidden_MD = output.at(target.fields["positions"])
        kl, hard_ = vocabulary_losses(
            cast(VocabularyHead, output.heads[head]), hidden_MD, target.fields["labels"], soft
        )
        return objective.weighted({"kl": kl, "hard": hard_})


def first_epoch(rng: Address) -> Address:
    """The address of the first epoch's draws, for an address of any epoch."""
    return Address(rng.seed, (*rng.parts[:-1], 0))


def discard(run: Run) -> None:
    """Remove the predictions of a finished run; of several processes one does."""
    if world().leads:
        predictions(run.output).unlink(missing_ok=True)
        atomic.clean(predictions(run.output))


def replay(objective: LanguageDistillation | TaskDistillation, data: Epochs, run: Run, *, device: str) -> Replay:
    """The objective with the teacher's predictions, which are computed now unless an unfinished run has saved them."""
    path = predictions(run.output)
    if run.fresh or not path.exists() or differences(file.read(path).provenance, run.provenance()):
        with atomic.spool(run.output) as column:
            write_predictions(objective, data, run, device, column)
    saved = file.read(path, kind="predictions")
    known = {name: saved.array(name) for name in saved.tensors if name != "starts"}
    return Replay(objective, known, saved.array("starts"))


def write_predictions(
    objective: LanguageDistillation | TaskDistillation, data: Epochs, run: Run, device: str, column: Column
) -> None:
    """Write the file of predictions, by way of a file for each ``column``."""
    rng = Address(run.options["seed"], ("objective", 0))
    top = int(run.options["replay"])
    counts: list[int] = []
    sizes: dict[str, tuple[np.dtype[Any], list[int]]] = {}
    objective.teacher.eval()
    for rows, arrays in _batches(objective, data, rng, top, device):
        counts += rows
        for key, values in arrays.items():
            sizes.setdefault(key, (values.dtype, [0, values.shape[1]]))[1][0] += len(values)
            column(key).write(np.ascontiguousarray(values).tobytes())
        events.emit(
            "progress", label="running the teacher", done=len(counts), total=len(data.lengths), unit="sequences"
        )
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tensors = {key: FileTensor(column(key), dtype, tuple(shape)) for key, (dtype, shape) in sizes.items()}
    file.write(
        predictions(run.output),
        {**tensors, "starts": starts},
        kind="predictions",
        config={"top": top},
        provenance=run.provenance(),
        history={},
        determinism=promised(run.libraries),
    )


def _batches(
    objective: LanguageDistillation | TaskDistillation, data: Epochs, rng: Address, top: int, device: str
) -> Iterator[tuple[list[int], Arrays]]:
    """Predictions of all examples in the order of their numbers, some at a time, with how many each has."""
    ends = np.cumsum(data.lengths)
    cuts = np.searchsorted(ends, np.arange(data.batch_tokens, ends[-1], data.batch_tokens))
    for examples in np.split(np.arange(len(data.lengths)), np.unique(cuts)):
        if not len(examples):
            continue
        order = np.argsort(-data.lengths[examples], kind="stable")  # few runs of equal length
        batch, target = objective.corrupt(data.make(examples[order], 0), rng)
        with torch.inference_mode():
            output: Output = objective.teacher(batch.to(device), wanted=target.wanted)
            arrays = _predictions(objective, output, target.to(device), top)
        index_of = {int(example): number for number, example in enumerate(batch.examples)}
        sequence = _sequence_of(objective, batch, target)
        counts = np.bincount(sequence, minlength=len(examples))
        starts = np.cumsum(counts) - counts
        chosen = [index_of[int(example)] for example in examples]
        rows = np.concatenate([np.arange(starts[at], starts[at] + counts[at]) for at in chosen])
        yield [int(counts[at]) for at in chosen], {key: values[rows] for key, values in arrays.items()}


def _sequence_of(objective: LanguageDistillation | TaskDistillation, batch: Batch, target: Target) -> NDArray[np.int64]:
    """Which sequence of the batch each prediction belongs to."""
    if isinstance(objective, TaskDistillation):
        return np.arange(len(batch.packing.lengths))
    sequence: NDArray[np.int64] = batch.packing.sequence.numpy()[target.fields["positions"].numpy()]
    return sequence


def _predictions(
    objective: LanguageDistillation | TaskDistillation, output: Output, target: Target, top: int
) -> Arrays:
    """What is saved of a batch: scores [M, V], or ids and log-probabilities [M, K]."""
    if isinstance(objective, TaskDistillation):
        return {"scores": wide(objective.base.scores(output)).cpu().numpy()}
    (name,) = objective.base.heads
    head = cast(VocabularyHead, output.heads[name])
    hidden_MD = head.prepare(output.at(target.fields["positions"]))
    ids, logs = [], []
    for part in torch.split(hidden_MD, CHUNK):
        scaled = wide(linear(part, head.weight, head.bias)) / objective.temperature
        best = scaled.topk(min(top, scaled.shape[1]), dim=1)
        ids.append(best.indices.to(torch.int32))
        logs.append(best.values - scaled.logsumexp(1, keepdim=True))
    return {"ids": torch.cat(ids).cpu().numpy(), "logs": torch.cat(logs).cpu().numpy()}
