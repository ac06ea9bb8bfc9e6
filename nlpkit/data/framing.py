"""The framing tokens around a text or a pair of texts, as a family of models expects them.

A family's `Template` says them by role; with a tokenizer's pieces it becomes a `Framing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.data.batch import Batch
from nlpkit.layers.packing import Packing
from nlpkit.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]
TEXTS = ("A", "B")


@dataclass(frozen=True)
class Template:
    """Roles of framing tokens around the texts A and B, as in "cls A sep"; ``segments``: whether the model reads a
    number for each token, 0 for A and what frames it, 1 for B."""

    single: str
    pair: str
    segments: bool = False

    def roles(self) -> tuple[str, ...]:
        """The roles of the template, each once."""
        words = f"{self.single} {self.pair}".split()
        return tuple(dict.fromkeys(word for word in words if word not in TEXTS))

    def gaps(self) -> tuple[tuple[str, ...], ...]:
        """The roles before a text, after a single one, between two, and after the second."""
        before, after = self.single.split("A")
        first, rest = self.pair.split("A")
        between, last = rest.split("B")
        assert first == before, "a pair begins as a single text does"
        return tuple(tuple(gap.split()) for gap in (before, after, between, last))


# [CLS] A [SEP] and [CLS] A [SEP] B [SEP] (Devlin et al. 2019, section 3.1).
ENCODER = Template("cls A sep", "cls A sep B sep", segments=True)
# A, end of text; a pair with the end-of-text token between as well (Radford et al. 2018, section 3.3).
DECODER = Template("A eos", "A eos B eos")


@dataclass(frozen=True)
class Framing:
    """Ids of the tokens ``before`` the texts, ``between`` two of them and ``after`` the last; ``segments``: whether
    the model reads segment numbers."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: bool

    @property
    def last(self) -> int:
        """The token that ends a text."""
        return self.after[-1]

    def extra(self, texts: int = 1) -> int:
        """How many framing tokens a sequence of one or two texts gets."""
        return len(self.before) + len(self.between) * (texts - 1) + len(self.after)

    def frame(self, texts: Sequence[Ids]) -> Framed:
        """One sequence of one or two texts; a framing token has the segment of the text before it."""
        ends = [*[self.between] * (len(texts) - 1), self.after]
        parts: list[Ids] = [np.array(self.before, np.int64)]
        segments: list[Ids] = [np.zeros(len(self.before), np.int64)]
        special: list[NDArray[np.bool_]] = [np.ones(len(self.before), bool)]
        for number, (text, end) in enumerate(zip(texts, ends, strict=True)):
            parts += [text.astype(np.int64), np.array(end, np.int64)]
            segments.append(np.full(len(text) + len(end), number, np.int64))
            special += [np.zeros(len(text), bool), np.ones(len(end), bool)]
        return Framed(np.concatenate(parts), np.concatenate(segments), np.concatenate(special))


@dataclass(frozen=True)
class Framed:
    """One sequence: tokens, segments (0 and 1) and which tokens are framing, [T] each."""

    tokens: Ids
    segments: Ids
    special: NDArray[np.bool_]


def framing(template: Template, tokenizer: Tokenizer) -> Framing:
    """A family's framing with a tokenizer's pieces. Errors: a tokenizer without the pieces it needs."""

    def role(wanted: str) -> int:
        piece_id = tokenizer.role(wanted)
        if piece_id is None:
            raise UserError(
                f"the tokenizer has no {wanted} token, which a model of this family needs",
                hint="train a tokenizer with the default special pieces",
            )
        return piece_id

    before, after, between, last = (tuple(role(name) for name in gap) for gap in template.gaps())
    assert after == last, "a pair ends as a single text does"
    return Framing(before, between, after, template.segments)


def truncate(texts: Sequence[Ids], budget: int) -> list[Ids]:
    """Cut texts to ``budget`` tokens in all, taking from the end of the longer one first (Devlin et al. 2019, their
    code's truncate_seq_pair). Texts that fit are not cut."""
    lengths = [len(text) for text in texts]
    if sum(lengths) <= budget:
        return list(texts)
    if len(texts) == 1:
        return [texts[0][:budget]]
    half = budget // 2
    # The shorter keeps up to half of the budget, the longer gets the rest; of two long ones the first gets an odd one.
    shorter = min(min(lengths), half)
    cut = [shorter, budget - shorter] if lengths[0] < lengths[1] else [budget - shorter, shorter]
    return [text[:length] for text, length in zip(texts, cut, strict=True)]


def pack(
    framed: Sequence[Framed],
    examples: Sequence[int] | Ids,
    *,
    segments: bool,
    labels: dict[str, torch.Tensor] | None = None,
) -> Batch:
    """Framed sequences as one batch, in their order."""
    return Batch(
        tokens=torch.from_numpy(np.concatenate([item.tokens for item in framed])),
        packing=Packing.of([len(item.tokens) for item in framed]),
        examples=torch.as_tensor(np.asarray(examples, np.int64)),
        special=torch.from_numpy(np.concatenate([item.special for item in framed])),
        segments=torch.from_numpy(np.concatenate([item.segments for item in framed])) if segments else None,
        labels=labels or {},
    )
