"""Inference for many sequences: no gradients, no dropout, batches of similar lengths, results in order."""

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
    """The scores of every sequence, [n, ...], in the order of ``sequences``. ``progress`` is called with the number
    that is done; ``spread`` may divide the batches among several processes.

    Nothing is padded, so no score depends on the rest of its batch (except for the last bits of a float).
    """

    def infer(batch: Batch) -> Tensor:
        return task.scores(model(batch, wanted=task.wanted(batch)))

    return each(model, infer, sequences, batch_tokens=batch_tokens, device=device, progress=progress, spread=spread)


def each(
    model: Model,
    infer: Callable[[Batch], Tensor],
    sequences: Sequences,
    *,
    batch_tokens: int,
    device: str,
    progress: Callable[[int], None] = lambda done: None,
    spread: Spread = alone,
) -> Scores:
    """Call ``infer``, which returns [B, ...] for a batch, for all sequences: [n, ...], in their order. Errors:
    RunError for NaN or infinity."""
    if model.training:  # only then, because eval() visits every module: a twentieth of a small model's forward
        model.eval()
    rows: list[Scores | None] = [None] * len(sequences)
    batches = in_order(sequences.lengths, batch_tokens)
    done = 0

    def scores_of(examples: NDArray[np.int64]) -> Scores:
        nonlocal done
        batch = sequences.batch(examples)
        scores: Scores = infer(batch.to(device)).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise RunError("the model's scores are not numbers", hint="its weights are damaged, or training diverged")
        done += len(examples)
        progress(done)
        return scores

    with torch.inference_mode():
        for examples, batch_scores in zip(batches, spread(scores_of, batches), strict=True):
            for index, row in zip(examples, batch_scores, strict=True):
                rows[index] = row
    return np.stack([row for row in rows if row is not None])
