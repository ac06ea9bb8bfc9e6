"""The character tokenizer: every character (Unicode code point) of a text is a token, white space too.

What Chinese models use instead of words (BERT's Chinese model, ERNIE 1.0), and the smallest vocabulary for any
language. Decoding gives back the exact text, but for characters that are not in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.steps import chain


class Character(Tokenizer):
    """Pieces that are not special have one character each. ``steps`` name the normalisation (steps.py)."""

    kind: ClassVar[str] = "char"

    def __init__(self, pieces: Sequence[str], special: dict[str, str], steps: Sequence[str] = ()) -> None:
        super().__init__(pieces, special)
        if "unk" not in special:
            raise UserError("a character tokenizer needs a piece for unknown characters")
        reserved = set(special.values())
        long = next((piece for piece in self.pieces if len(piece) != 1 and piece not in reserved), None)
        if long is not None:
            raise UserError(f"a character tokenizer has pieces of one character each, not {long!r}")
        self.steps = list(steps)
        self._normalize = chain(self.steps)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Character:
        return cls(value["pieces"], value["special"], value["steps"])

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Code point -> id."""
        reserved = set(self.special.values())
        table = np.full(0x110000, self.ids[self.special["unk"]], np.int32)
        for number, piece in enumerate(self.pieces):
            if piece not in reserved:
                table[ord(piece)] = number
        return table

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "pieces": self.pieces, "special": self.special, "steps": self.steps}

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        table, normalize = self._table, self._normalize
        return [table[np.frombuffer(normalize(text).encode("utf-32-le"), np.uint32)] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        reserved = set(self.special.values())
        return "".join(piece for piece in (self.pieces[number] for number in ids) if piece not in reserved)


def most_frequent(counts: Mapping[str, int], size: int) -> list[str]:
    """The ``size`` most frequent keys, ties by text."""
    return sorted(counts, key=lambda text: (-counts[text], text))[:size]
