"""WordPiece (Schuster and Nakajima 2012, section 3; Wu et al. 2016, section 4.1; Devlin et al. 2019, their code).

A word is spelled by the longest piece that begins it, then the longest that goes on (marked ``##``). A word that cannot
be spelled, or has more than 100 letters, is [UNK].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import spelling
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import Spellings, by_words, each
from nlpkit.tokenizers.fast import Plan
from nlpkit.tokenizers.pretokenize import chunks, words_by

CONTINUATION = "##"
LONGEST = 100  # letters of a word; longer ones are [UNK]


class WordPiece(Tokenizer):
    """``lowercase`` and ``strip_accents`` are those of BERT's basic tokenisation (``strip_accents`` None: as
    ``lowercase``, as its published files mean it)."""

    kind: ClassVar[str] = "wordpiece"

    def __init__(
        self, pieces: Sequence[str], special: dict[str, str], lowercase: bool = True, strip_accents: bool | None = None
    ) -> None:
        super().__init__(pieces, special)
        if "unk" not in special:
            raise UserError("a WordPiece tokenizer needs a piece for unknown words")
        self.lowercase = bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        reserved = set(special.values())
        self._find = {piece: number for piece, number in self.ids.items() if piece not in reserved}
        self._longest = max((len(piece) for piece in self._find), default=0)
        self._unknown = self.ids[special["unk"]]
        split = words_by(lower=self.lowercase, strip=self.strip_accents)
        self._spellings = Spellings(by_words(split, each(self._spell)))

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
        return Plan(
            spelling.BASIC,
            spelling.WORDPIECE,
            self._spellings.spell,
            self.lowercase,
            self._unknown,
            LONGEST,
            self._find,
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Words and single spaces."""
        reserved = set(self.special.values())
        pieces = [piece for piece in (self.pieces[number] for number in ids) if piece not in reserved]
        return "".join(
            piece.removeprefix(CONTINUATION) if piece.startswith(CONTINUATION) else f" {piece}" for piece in pieces
        ).removeprefix(" ")

    def _spell(self, word: str) -> list[int]:
        if len(word) > LONGEST:
            return [self._unknown]
        find, ids, start = self._find, list[int](), 0
        while start < len(word):
            prefix = CONTINUATION if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                number = find.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            ids.append(number)
            start = end
        return ids
