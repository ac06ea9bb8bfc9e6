"""Answers to many sequences: no gradients, no dropout, batches of like lengths, answers in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nlpkit.data.batch import Batch
from nlpkit.data.order import in_order
from nlpkit.models.base import Model
from nlpkit.tasks.base import Scores, Task
from nlpkit.tasks.sequences import Sequences

BATCH_TOKENS = 4096


def score(
    model: Model,
    task: Task,
    sequences: Sequences,
    *,
    batch_tokens: int = BATCH_TOKENS,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
) -> Scores:
    """The scores of every sequence, [n, ...], in the order of ``sequences``. ``progress`` hears how many are done.

    Nothing is padded, so no score depends on what shares its batch (but for the last bits of a float).
    """
    return each(model, lambda batch: task.scores(model(batch)), sequences, batch_tokens=batch_tokens, device=device,
                progress=progress)  # fmt: skip


def each(
    model: Model,
    answer: Callable[[Batch], Tensor],
    sequences: Sequences,
    *,
    batch_tokens: int,
    device: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Scores:
    """What ``answer`` says of each sequence of a batch, [B, ...], for all sequences, [n, ...], in their order."""
    model.eval()
    rows: list[Scores | None] = [None] * len(sequences)
    done = 0
    with torch.inference_mode():
        for examples in in_order(sequences.lengths, batch_tokens):
            # One token alone would be read as a step of generation is, which has other last bits (layers/linear.py).
            alone = sequences.lengths[examples].sum() == 1
            batch = sequences.batch(np.repeat(examples, 2) if alone else examples)
            found = answer(batch.to(device)).double().cpu().numpy()[: len(examples)]
            for place, row in zip(examples, found, strict=True):
                rows[place] = row
            done += len(examples)
            progress(done)
    return np.stack([row for row in rows if row is not None])
