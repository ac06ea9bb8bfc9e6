"""What a model reads: one flat row of tokens, and where each sequence lies in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from nlpkit.layers.packing import Packing


@dataclass(frozen=True)
class Batch:
    """Packed sequences.

    tokens [N] int64; ``packing`` has their lengths; segments [N] int64 (0 for A, 1 for B) or None; special [N] bool,
    True for framing tokens, which no objective may change; examples [B] int64, the index of each sequence in its
    data, which addresses its random draws; labels: whatever a source knows of each sequence, by name, [B, ...].
    """

    tokens: Tensor
    packing: Packing
    examples: Tensor
    special: Tensor
    segments: Tensor | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def with_tokens(self, tokens: Tensor) -> Batch:
        """The same batch with other tokens at the same positions."""
        return replace(self, tokens=tokens)

    def to(self, device: str) -> Batch:
        """The batch on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            examples=self.examples.to(device),
            special=self.special.to(device),
            segments=None if self.segments is None else self.segments.to(device),
            labels={name: value.to(device) for name, value in self.labels.items()},
        )


@dataclass(frozen=True)
class Wanted:
    """The tokens of a batch whose last hidden states are read: the last block computes no others.

    ``positions`` [A] int64, ascending, on the CPU; with ``pooled`` also those that the family makes a sequence's
    vector of. None instead of a `Wanted`: every token.
    """

    positions: Tensor | None = None
    pooled: bool = False

    def tokens(self, pooled_B: Tensor) -> Tensor:
        """The positions [A] of a batch whose family pools the tokens at ``pooled_B``."""
        if self.positions is None or not self.pooled:
            return pooled_B if self.positions is None else self.positions
        return _union(self.positions, pooled_B)


def wanted_by_all(parts: Iterable[Wanted | None]) -> Wanted | None:
    """The union of several."""
    positions: Tensor | None = None
    pooled = False
    for part in parts:
        if part is None:
            return None
        if part.positions is not None:
            positions = part.positions if positions is None else _union(positions, part.positions)
        pooled |= part.pooled
    return Wanted(positions, pooled)


def _union(one: Tensor, other: Tensor) -> Tensor:
    return torch.from_numpy(np.union1d(one.numpy(), other.numpy()))
