"""The head's answers to many sequences: no gradients, no dropout, batches of like lengths, answers in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

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
    model.eval()
    rows: list[Scores | None] = [None] * len(sequences)
    done = 0
    with torch.inference_mode():
        for examples in in_order(sequences.lengths, batch_tokens):
            found = task.scores(model(sequences.batch(examples).to(device))).double().cpu().numpy()
            for place, row in zip(examples, found, strict=True):
                rows[place] = row
            done += len(examples)
            progress(done)
    return np.stack([row for row in rows if row is not None])
