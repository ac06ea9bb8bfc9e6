"""An objective's loss on held-out data, without training."""

from __future__ import annotations

import numpy as np
import torch

from nlpkit.data.order import Epochs, in_order
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective
from nlpkit.seeds import Address


def mean_losses(model: Model, objective: Objective, data: Epochs, rng: Address, device: str) -> dict[str, float]:
    """Mean loss of each term over every sequence of ``data`` once; the masks are those of the address ``rng``."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    model.eval()
    with torch.inference_mode():
        for examples in in_order(np.asarray(data.lengths), data.batch_tokens):
            batch, target = objective.corrupt(data.make(examples, 0), rng)
            output = model(batch.to(device), layers=objective.layers)
            for name, value in objective.loss(output, target.to(device)).items():
                sums[name] = sums.get(name, 0.0) + value.item()
                counts[name] = counts.get(name, 0) + target.counts[name]
    return {name: value / max(1, counts[name]) for name, value in sums.items()}
