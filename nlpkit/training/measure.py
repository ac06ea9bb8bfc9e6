"""An objective's loss on held-out data, without training."""

from __future__ import annotations

import numpy as np
import torch

from nlpkit.base.seeds import Address
from nlpkit.data.order import Epochs, in_order
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective
from nlpkit.training.parallel.distributed import spread


def mean_losses(model: Model, objective: Objective, data: Epochs, rng: Address, device: str) -> dict[str, float]:
    """Mean loss of each term over every sequence of ``data`` once; ``rng`` seeds the masks. Several processes divide
    the batches among them, and each gets the result."""
    names = list(objective.weights)
    model.eval()

    def measured(examples: np.ndarray) -> np.ndarray:
        """Sum and number of targets of each term, [terms, 2]; -1 targets where there is no such term."""
        batch, target = objective.corrupt(data.make(examples, 0), rng)
        output = model(batch.to(device), layers=objective.layers, wanted=target.wanted)
        terms = objective.loss(output, target.to(device))
        return np.array([[terms[name].item(), target.counts[name]] if name in terms else [0, -1] for name in names])

    with torch.inference_mode():
        results = spread(measured, in_order(np.asarray(data.lengths), data.batch_tokens))
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for rows in results:
        for name, (value, count) in zip(names, rows.tolist(), strict=True):
            if count >= 0:
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + int(count)
    return {name: value / max(1, counts[name]) for name, value in sums.items()}
