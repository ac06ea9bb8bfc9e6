"""The word tokenizer: BERT's basic words, the frequent ones; every other is [UNK]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import spelling
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import Spellings, each
from nlpkit.tokenizers.fast import Plan
from nlpkit.tokenizers.pretokenize import chunks, words_by


class Word(Tokenizer):
    """A piece is a word or a punctuation mark. ``lowercase`` and ``strip_accents`` as in wordpiece.py."""

    kind: ClassVar[str] = "word"

    def __init__(
        self, pieces: Sequence[str], special: dict[str, str], lowercase: bool = True, strip_accents: bool | None = None
    ) -> None:
        super().__init__(pieces, special)
        if "unk" not in special:
            raise UserError("a word tokenizer needs a piece for unknown words")
        self.lowercase = bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        reserved = set(special.values())
        self._find = {piece: number for piece, number in self.ids.items() if piece not in reserved}
        self._split = words_by(lower=self.lowercase, strip=self.strip_accents)
        self._spellings = Spellings(each(self._spell))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pieces": self.pieces,
            "special": self.special,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
        }

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return self._spellings.ids(map(chunks, texts))

    def plan(self) -> Plan:
        unknown = self.ids[self.special["unk"]]
        return Plan(spelling.BASIC, spelling.WORD, self._spellings.spell, self.lowercase, unknown, pieces=self._find)

    def _spell(self, chunk: str) -> list[int]:
        unknown = self.ids[self.special["unk"]]
        return [self._find.get(word, unknown) for word in self._split(chunk)]

    def decode(self, ids: Sequence[int]) -> str:
        """Words and single spaces."""
        reserved = set(self.special.values())
        return " ".join(piece for piece in (self.pieces[number] for number in ids) if piece not in reserved)
