"""Texts as a model's input sequences: encoded, truncated, framed with special tokens.

Shapes: n sequences, N tokens of all of them, T tokens of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.data.batch import Batch
from nlpkit.data.framing import Framed, Framing, pack, truncate
from nlpkit.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]


MUCH = 0.05  # of the tokens: so many left out are worth a suggestion


@dataclass(frozen=True)
class Cut:
    """What a largest length left out: how many of the texts are longer, and how many of their tokens are left out."""

    texts: int = 0
    of: int = 0
    tokens: int = 0
    of_tokens: int = 0

    def __add__(self, other: Cut) -> Cut:
        return Cut(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def fraction(self) -> float:
        """Of all tokens, those that are left out."""
        return self.tokens / max(1, self.of_tokens)


@dataclass(frozen=True)
class Sequences:
    """``framed`` [n]; ``labels`` by name, [n, ...]; ``cut``: what was left out."""

    framed: Sequence[Framed]
    segments: bool
    cut: Cut = Cut()
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
    """Encodes texts as a model's sequences, of at most ``max_len`` tokens; ``positions``: the most that the model
    reads, where it is known."""

    tokenizer: Tokenizer
    framing: Framing
    max_len: int
    positions: int | None = None

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, labels: Mapping[str, Ids] | None = None
    ) -> Sequences:
        """Texts, or pairs of texts, as framed sequences."""
        sides = [self.tokenizer.encode_batch(list(side)) for side in (texts, pairs) if side is not None]
        available = self.max_len - self.framing.extra(len(sides))
        framed = [self.framing.frame(truncate(parts, available)) for parts in zip(*sides, strict=True)]
        tokens = sum(np.array([len(item) for item in side], np.int64) for side in sides)
        over = np.maximum(0, tokens - available)
        cut = Cut(int((over > 0).sum()), len(framed), int(over.sum()), int(np.sum(tokens)))
        return Sequences(framed, self.framing.segments, cut, dict(labels or {}))

    @property
    def more_positions(self) -> int | None:
        """The model's positions, where these are more than ``max_len``."""
        return self.positions if self.positions and self.positions > self.max_len else None

    def said(self, cut: Cut, noun: str = "text") -> str:
        """The sentence on what was left out, with what reads more of it where it is much."""
        are, were = ("is", "was") if cut.texts == 1 else ("are", "were")
        percent = f"{cut.fraction:.1%}" if cut.fraction >= 0.001 else "less than 0.1%"
        text = f"{cut.texts:,} of {cut.of:,} {noun}s {are} longer than {self.max_len} tokens and {were} cut: "
        text += f"{percent} of the tokens are left out"
        if cut.fraction < MUCH or self.positions is None:
            return text
        longer = f"--max-len {self.more_positions}"
        other = f"a model that was pre-trained with a --max-len above {self.max_len}"
        return f"{text}; {longer if self.more_positions else other} reads more"
