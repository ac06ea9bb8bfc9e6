"""The word tokenizer: BERT's basic words, the frequent ones; every other is [UNK]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import UserError
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.pretokenize import cased_words, lower_words


class Word(Tokenizer):
    """A piece is a word or a punctuation mark. ``lowercase`` lower-cases and strips accents."""

    kind: ClassVar[str] = "word"

    def __init__(self, pieces: Sequence[str], special: dict[str, str], lowercase: bool = True) -> None:
        super().__init__(pieces, special)
        if "unk" not in special:
            raise UserError("a word tokenizer needs a piece for unknown words")
        self.lowercase = bool(lowercase)
        reserved = set(special.values())
        self._find = {piece: number for piece, number in self.ids.items() if piece not in reserved}

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "pieces": self.pieces, "special": self.special, "lowercase": self.lowercase}

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        find, unknown = self._find, self.ids[self.special["unk"]]
        split = lower_words if self.lowercase else cased_words
        return [np.array([find.get(word, unknown) for word in split(text)], np.int32) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Words and single spaces."""
        reserved = set(self.special.values())
        return " ".join(piece for piece in (self.pieces[number] for number in ids) if piece not in reserved)
