"""An imported tokenizer that recognises special pieces in a text: in "the [MASK] sat" the second word is the token.

Our own tokenizers read such a piece as ordinary text, so that no text can insert a token that only the program may
set. Hugging Face's recognise it, and an imported tokenizer gives their ids on any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.tokenizers.base import Tokenizer


class FindsSpecial(Tokenizer):
    """``plain`` encodes each text between two special pieces by itself. Of two special pieces that begin at the same
    character the longer one is taken."""

    finds_special: ClassVar[bool] = True

    def __init__(self, plain: Tokenizer) -> None:
        super().__init__(plain.pieces, plain.special)
        self._plain = plain
        self.kind = plain.kind  # type: ignore[misc]
        pieces = sorted(set(self.special.values()), key=lambda piece: (-len(piece), piece))
        self._special = re.compile("|".join(map(re.escape, pieces)) or r"(?!)")

    @property
    def plain(self) -> Tokenizer:
        return self._plain

    def to_json(self) -> dict[str, Any]:
        return {**self._plain.to_json(), "finds_special": True}

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        if not any(map(self._special.search, texts)):
            return self._plain.encode_batch(texts)
        between = [self._special.split(text) for text in texts]
        special = [[self.ids[piece] for piece in self._special.findall(text)] for text in texts]
        spelled = iter(self._plain.encode_batch([part for parts in between for part in parts]))
        joined = []
        for parts, marks in zip(between, special, strict=True):
            ids = [next(spelled)]
            for mark, _ in zip(marks, parts[1:], strict=True):
                ids += [np.array([mark], np.int32), next(spelled)]
            joined.append(np.concatenate(ids))
        return joined

    def decode(self, ids: Sequence[int]) -> str:
        return self._plain.decode(ids)
