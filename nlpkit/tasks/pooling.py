"""Pooling: one vector for each sequence, from the vectors of its tokens.

Shapes: N tokens of a batch, B sequences, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlpkit.base.errors import UserError
from nlpkit.data.batch import Batch, Wanted
from nlpkit.models.base import Model


def check_pooler(
    model: Model, pooling: str, *, where: Path, hint: str = "--pooling mean, cls or max needs none"
) -> None:
    """Errors: pooling "pooler" with a model that has none."""
    if pooling == "pooler" and not model.pools:
        raise UserError("has no pooler", where=where, hint=hint)


def _reduced(how: str) -> Callable[[Any], Tensor]:
    """Reduce over every token of a sequence, special tokens included. One thread sums a sequence, in token order."""

    def pool(output: Any) -> Tensor:
        lengths = torch.tensor(output.batch.packing.lengths, device=output.hidden.device)
        return torch.segment_reduce(output.hidden, how, lengths=lengths, axis=0)

    return pool


@dataclass(frozen=True)
class Pooling:
    """``pool`` computes [B, D] from a model's output; ``wanted`` returns the tokens of a batch that it reads."""

    pool: Callable[[Any], Tensor]
    wanted: Callable[[Batch], Wanted | None]

    def __call__(self, output: Any) -> Tensor:
        return self.pool(output)


POOLINGS: dict[str, Pooling] = {
    # Defined by the family: BERT's tanh of a projected [CLS], GPT-2's last token.
    "pooler": Pooling(lambda output: output.pooled, lambda batch: Wanted(pooled=True)),
    "cls": Pooling(lambda output: output.at(output.batch.packing.starts), lambda batch: Wanted(batch.packing.starts)),
    "last": Pooling(lambda output: output.at(output.batch.packing.ends), lambda batch: Wanted(batch.packing.ends)),
    "mean": Pooling(_reduced("mean"), lambda batch: None),
    "max": Pooling(_reduced("max"), lambda batch: None),
}
