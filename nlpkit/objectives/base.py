"""What a pre-training objective is: two pure functions.

``corrupt(batch, rng)`` makes what the model reads and what it should answer; ``loss(output, target)`` measures the
answer. The loop does the rest. An objective imports no model: it finds its head by name in ``output.heads``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from nlpkit.data.batch import Batch
from nlpkit.seeds import Address


@dataclass(frozen=True)
class Target:
    """What should be answered. ``counts`` says how many answers each term of the loss has; it is known before the
    model runs, so that accumulated micro-batches weigh every answer the same whatever their sizes."""

    counts: Mapping[str, int]
    fields: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """``heads``: the model's heads it needs. ``source``: how sequences are cut from a token file ("blocks": equal
    lengths from the running text; "sentences": whole sentences of one document; "pairs": two segments and the label
    whether the second follows). ``layers``: whether it looks at each block's output. ``weights``: of each term."""

    name: str
    heads: tuple[str, ...]
    source: str
    layers: bool
    weights: Mapping[str, float]

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        """A function of the batch and the address only; each sequence's randomness of its own example number."""

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        """For each term of ``target.counts``, the SUM of the losses of its answers (a scalar)."""
