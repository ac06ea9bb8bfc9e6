"""One vector a sequence, from the vectors of its tokens.

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
    """Errors: the pooler of a model that came without one."""
    if pooling == "pooler" and not model.pools:
        raise UserError("has no pooler", where=where, hint=hint)


def _reduced(how: str) -> Callable[[Any], Tensor]:
    """Over every token of a sequence, framing included. Each sequence is summed by one thread, in its order."""

    def pool(output: Any) -> Tensor:
        lengths = torch.tensor(output.batch.packing.lengths, device=output.hidden.device)
        return torch.segment_reduce(output.hidden, how, lengths=lengths, axis=0)

    return pool


@dataclass(frozen=True)
class Pooling:
    """``pool`` makes [B, D] of a model's output; ``wanted`` says which tokens of a batch it reads."""

    pool: Callable[[Any], Tensor]
    wanted: Callable[[Batch], Wanted | None]

    def __call__(self, output: Any) -> Tensor:
        return self.pool(output)


POOLINGS: dict[str, Pooling] = {
    # The family's own: BERT's tanh of [CLS], GPT-2's last token.
    "pooler": Pooling(lambda output: output.pooled, lambda batch: Wanted(pooled=True)),
    "cls": Pooling(lambda output: output.at(output.batch.packing.starts), lambda batch: Wanted(batch.packing.starts)),
    "last": Pooling(lambda output: output.at(output.batch.packing.ends), lambda batch: Wanted(batch.packing.ends)),
    "mean": Pooling(_reduced("mean"), lambda batch: None),
    "max": Pooling(_reduced("max"), lambda batch: None),
}
