"""The Unigram tokenizer (Kudo 2018, "Subword regularization", section 3.2): a word is written with the pieces whose
probabilities multiply to most.

Used by ALBERT, XLNet and T5. Words are separated by white space, which is kept
as U+2581 in front of each word (sentencepiece's convention), so "the cat" is "▁the▁cat" to the pieces. For the
same pieces and scores, ids equal those of tokenizers' ``Unigram`` after ``WhitespaceSplit`` and ``Metaspace``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import regex
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import spelling
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import Spellings, by_words, each
from nlpkit.tokenizers.fast import Plan
from nlpkit.tokenizers.pretokenize import chunks
from nlpkit.tokenizers.steps import chain

SPACE = "▁"  # U+2581
UNKNOWN_PENALTY = 10.0  # an unknown character scores so much below the worst piece, as in sentencepiece
_WHITE = regex.compile(r"\p{White_Space}+")
_ONLY_PYTHON = regex.compile(r"[\x1c-\x1f]")  # white space to str.split but not to Unicode


def words(text: str) -> list[str]:
    """The words of a text, without the U+2581 each begins with. U+2581 in the text itself begins a word."""
    parts = [word for word in _WHITE.split(text) if word] if _ONLY_PYTHON.search(text) else text.split()
    if SPACE in text:
        return [part for word in parts for part in word.removeprefix(SPACE).split(SPACE)]
    return parts


class Unigram(Tokenizer):
    """``scores`` are log-probabilities, one a piece. Special pieces are never found in a text; their scores count
    only where the worst is looked for, as they do in Hugging Face files. ``steps`` name the normalisation (steps.py).

    Decoding gives back the text with single spaces for white space, and as the normalisation left it.
    """

    kind: ClassVar[str] = "unigram"

    def __init__(
        self, pieces: Sequence[str], scores: Sequence[float], special: dict[str, str], steps: Sequence[str] = ()
    ) -> None:
        super().__init__(pieces, special)
        if len(scores) != len(self.pieces):
            raise UserError(f"a unigram tokenizer has {len(self.pieces):,} pieces but {len(scores):,} scores")
        if "unk" not in special:
            raise UserError("a unigram tokenizer needs a piece for unknown characters")
        self.scores = [float(score) for score in scores]
        self._unknown_score = min(self.scores) - UNKNOWN_PENALTY
        self.steps = list(steps)
        self._normalize = chain(self.steps)
        self._spellings = Spellings(by_words(self._words, each(self.spell)))

    @cached_property
    def _prefixes(self) -> dict[str, tuple[float, int]]:
        """Every beginning of a piece, so that a search can stop: (score, id), (0, -1) where it is no piece itself."""
        reserved, prefixes = set(self.special.values()), dict[str, tuple[float, int]]()
        for number, piece in enumerate(self.pieces):
            if piece not in reserved:
                for end in range(1, len(piece)):
                    prefixes.setdefault(piece[:end], (0.0, -1))
                prefixes[piece] = (self.scores[number], number)
        return prefixes

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Unigram:
        return cls(value["pieces"], value["scores"], value["special"], value["steps"])

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pieces": self.pieces,
            "scores": self.scores,
            "special": self.special,
            "steps": self.steps,
        }

    def spell(self, word: str) -> list[int]:
        """The ids of a word that begins with U+2581, by Viterbi. Of two equally good spellings, the one whose last
        piece is longer; neighbouring unknown characters are one unknown piece."""
        size, unknown, find = len(word), self.ids[self.special["unk"]], self._prefixes.get
        score = [float("-inf")] * (size + 1)
        by: list[tuple[int, int]] = [(0, unknown)] * (size + 1)
        score[0] = 0.0
        for start in range(size):
            here, alone = score[start], False
            for end in range(start + 1, size + 1):
                entry = find(word[start:end])
                if entry is None:
                    break
                if entry[1] >= 0:
                    alone = alone or end == start + 1
                    if here + entry[0] > score[end]:
                        score[end], by[end] = here + entry[0], (start, entry[1])
            if not alone and here + self._unknown_score > score[start + 1]:
                score[start + 1], by[start + 1] = here + self._unknown_score, (start, unknown)
        ids: list[int] = []
        while size:
            size, number = by[size]
            if number != unknown or not ids or ids[-1] != unknown:
                ids.append(number)
        return ids[::-1]

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return self._spellings.ids(map(chunks, texts))

    def plan(self) -> Plan:
        reserved = set(self.special.values())
        pieces = {piece: number for piece, number in self.ids.items() if piece not in reserved}
        return Plan(
            spelling.WHOLE,
            spelling.UNIGRAM,
            self._spellings.spell,
            "lowercase" in self.steps,
            self.ids[self.special["unk"]],
            pieces=pieces,
            scores=self.scores,
            floor=self._unknown_score,
            paired="quotes" in self.steps,
        )

    def _words(self, chunk: str) -> list[str]:
        return [SPACE + word for word in words(self._normalize(chunk))]

    def decode(self, ids: Sequence[int]) -> str:
        reserved = set(self.special.values())
        pieces = (self.pieces[number] for number in ids)
        return "".join(piece for piece in pieces if piece not in reserved).replace(SPACE, " ").removeprefix(" ")
