"""Answers to many sequences: no gradients, no dropout, batches of like lengths, answers in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.base.errors import RunError
from nlpkit.data.batch import Batch
from nlpkit.data.order import in_order
from nlpkit.models.base import Model
from nlpkit.tasks.base import Scores, Task
from nlpkit.tasks.sequences import Sequences

BATCH_TOKENS = 4096
Spread = Callable[[Callable[[Any], np.ndarray], Sequence[Any]], list[np.ndarray]]


def alone(function: Callable[[Any], np.ndarray], items: Sequence[Any]) -> list[np.ndarray]:
    """``function`` of every item, in order; all in this process."""
    return [function(item) for item in items]


def score(
    model: Model,
    task: Task,
    sequences: Sequences,
    *,
    batch_tokens: int = BATCH_TOKENS,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
    spread: Spread = alone,
) -> Scores:
    """The scores of every sequence, [n, ...], in the order of ``sequences``. ``progress`` hears how many are done;
    ``spread`` may share the batches with other processes.

    Nothing is padded, so no score depends on what shares its batch (but for the last bits of a float).
    """

    def answer(batch: Batch) -> Tensor:
        return task.scores(model(batch, wanted=task.wanted(batch)))

    return each(model, answer, sequences, batch_tokens=batch_tokens, device=device, progress=progress, spread=spread)


def each(
    model: Model,
    answer: Callable[[Batch], Tensor],
    sequences: Sequences,
    *,
    batch_tokens: int,
    device: str,
    progress: Callable[[int], None] = lambda done: None,
    spread: Spread = alone,
) -> Scores:
    """What ``answer`` says of each sequence of a batch, [B, ...], for all sequences, [n, ...], in their order. Errors:
    RunError for NaN or infinity."""
    if model.training:  # telling every part of a small model takes as long as a twentieth of an answer
        model.eval()
    rows: list[Scores | None] = [None] * len(sequences)
    batches = in_order(sequences.lengths, batch_tokens)
    done = 0

    def answered(examples: NDArray[np.int64]) -> Scores:
        nonlocal done
        batch = sequences.batch(examples)
        found: Scores = answer(batch.to(device)).double().cpu().numpy()
        if not np.isfinite(found).all():
            raise RunError("the model's answers are not numbers", hint="its weights are damaged, or training diverged")
        done += len(examples)
        progress(done)
        return found

    with torch.inference_mode():
        for examples, found in zip(batches, spread(answered, batches), strict=True):
            for place, row in zip(examples, found, strict=True):
                rows[place] = row
    return np.stack([row for row in rows if row is not None])
