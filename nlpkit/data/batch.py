"""What a model reads: one flat row of tokens, with the place of every sequence in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from nlpkit.layers.packing import Packing


@dataclass(frozen=True)
class Batch:
    """Packed sequences.

    tokens [N] int64; ``packing`` has their lengths; segments [N] int64 (0 for A, 1 for B) or None; special [N] bool,
    True where a framing token stands that no objective may change; examples [B] int64, the address of each sequence
    in its data, from which randomness is drawn; labels: whatever a source knows of each sequence, by name, [B, ...].
    """

    tokens: Tensor
    packing: Packing
    examples: Tensor
    special: Tensor
    segments: Tensor | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def with_tokens(self, tokens: Tensor) -> Batch:
        """The same batch with other tokens in the same places."""
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
