"""One vector a sequence, from the vectors of its tokens.

Shapes: N tokens of a batch, B sequences, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlpkit.errors import UserError
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


# Name -> a function of a model's output that gives [B, D].
POOLINGS: dict[str, Callable[[Any], Tensor]] = {
    "pooler": lambda output: output.pooled,  # the family's own: BERT's tanh of [CLS], GPT-2's last token
    "cls": lambda output: output.hidden.index_select(0, output.batch.packing.starts.to(output.hidden.device)),
    "last": lambda output: output.hidden.index_select(0, output.batch.packing.ends.to(output.hidden.device)),
    "mean": _reduced("mean"),
    "max": _reduced("max"),
}
