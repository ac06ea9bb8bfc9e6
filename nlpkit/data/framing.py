"""The framing tokens around a text or a pair of texts, as a family of models expects them.

"encoder": [CLS] A [SEP], [CLS] A [SEP] B [SEP] with segments 0 and 1 (Devlin et al. 2019, section 3.1);
"decoder": A, end of text (Radford et al. 2018, section 3.3), a pair with the end-of-text token between as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base.errors import UserError, choose
from nlpkit.data.batch import Batch
from nlpkit.layers.packing import Packing
from nlpkit.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Framing:
    """``first`` precedes a sequence (None: no token does), ``last`` follows each of its texts; ``segments``: whether
    the model reads segment numbers."""

    first: int | None
    last: int
    segments: bool

    def extra(self, texts: int = 1) -> int:
        """How many framing tokens a sequence of one or two texts gets."""
        return (self.first is not None) + texts

    def frame(self, texts: Sequence[Ids]) -> Framed:
        """One sequence of one or two texts."""
        parts: list[Ids] = []
        segments: list[Ids] = []
        special: list[NDArray[np.bool_]] = []
        for number, text in enumerate(texts):
            before = [self.first] if number == 0 and self.first is not None else []
            parts += [np.array(before, np.int64), text.astype(np.int64), np.array([self.last], np.int64)]
            segments.append(np.full(len(before) + len(text) + 1, number, np.int64))
            special += [np.ones(len(before), bool), np.zeros(len(text), bool), np.ones(1, bool)]
        return Framed(np.concatenate(parts), np.concatenate(segments), np.concatenate(special))


@dataclass(frozen=True)
class Framed:
    """One sequence: tokens, segments (0 and 1) and which tokens are framing, [T] each."""

    tokens: Ids
    segments: Ids
    special: NDArray[np.bool_]


def _encoder(role: Callable[[str], int]) -> Framing:
    return Framing(first=role("cls"), last=role("sep"), segments=True)


def _decoder(role: Callable[[str], int]) -> Framing:
    return Framing(first=None, last=role("eos"), segments=False)


FRAMINGS: dict[str, Callable[[Callable[[str], int]], Framing]] = {"encoder": _encoder, "decoder": _decoder}


def framing(name: str, tokenizer: Tokenizer) -> Framing:
    """The framing of a family with a tokenizer's pieces. Errors: a tokenizer without the pieces it needs."""

    def role(wanted: str) -> int:
        piece_id = tokenizer.role(wanted)
        if piece_id is None:
            raise UserError(
                f"the tokenizer has no {wanted} token, which a model of this family needs",
                hint="train a tokenizer with the default special pieces",
            )
        return piece_id

    return choose(FRAMINGS, name, field="framing")(role)


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
