"""Texts as a model's input sequences: encoded, truncated, framed with special tokens.

Shapes: n sequences, N tokens of all of them, T tokens of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.data.batch import Batch
from nlpkit.data.framing import Framed, Framing, pack, truncate
from nlpkit.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """``framed`` [n]; ``labels`` by name, [n, ...]; ``truncated``: number of texts that were longer than allowed."""

    framed: Sequence[Framed]
    segments: bool
    truncated: int = 0
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.framed)

    @property
    def lengths(self) -> Ids:
        """Tokens of each sequence, [n]."""
        return np.array([len(item.tokens) for item in self.framed], np.int64)

    def batch(self, examples: Ids, epoch: int = 0) -> Batch:
        """The sequences with these numbers as one batch; the same in every epoch."""
        return pack(
            [self.framed[number] for number in examples],
            examples,
            segments=self.segments,
            labels={name: torch.from_numpy(values[examples]) for name, values in self.labels.items()},
        )


@dataclass(frozen=True)
class Encoder:
    """Encodes texts as a model's sequences, of at most ``max_len`` tokens."""

    tokenizer: Tokenizer
    framing: Framing
    max_len: int

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, labels: Mapping[str, Ids] | None = None
    ) -> Sequences:
        """Texts, or pairs of texts, as framed sequences."""
        sides = [self.tokenizer.encode_batch(list(side)) for side in (texts, pairs) if side is not None]
        available = self.max_len - self.framing.extra(len(sides))
        framed: list[Framed] = []
        truncated = 0
        for parts in zip(*sides, strict=True):
            truncated += sum(map(len, parts)) > available
            framed.append(self.framing.frame(truncate(parts, available)))
        return Sequences(framed, self.framing.segments, truncated, dict(labels or {}))
