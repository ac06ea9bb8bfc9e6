"""Byte-pair encoding (Sennrich et al. 2016, section 3.2; on bytes: Radford et al. 2019, section 2.2).

A word begins as its letters; the pair whose merge was learnt first is joined, until none is left. On bytes every text
has a spelling and decoding gives it back exactly; on characters, unseen ones become [UNK] and words end with ``</w>``.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import UserError
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import WordCache
from nlpkit.tokenizers.pretokenize import cased_words, gpt2_words, lower_words, to_bytes, to_letters

END = "</w>"
_SHORT = 48  # letters; longer words are merged with a heap, which does not slow down with their square


class BPE(Tokenizer):
    """``merges`` are pairs of pieces in the order they were learnt; ``byte_level`` says what letters are;
    ``lowercase`` is for characters only (BERT's basic words, lower-cased and without accents)."""

    kind: ClassVar[str] = "bpe"

    def __init__(
        self,
        pieces: Sequence[str],
        special: dict[str, str],
        merges: Sequence[Sequence[str]],
        byte_level: bool = True,
        lowercase: bool = False,
    ) -> None:
        super().__init__(pieces, special)
        self.merges = [(str(left), str(right)) for left, right in merges]
        self.byte_level, self.lowercase = bool(byte_level), bool(lowercase)
        if self.byte_level and self.lowercase:
            raise UserError("a byte-level tokenizer keeps its text exactly; it has no lower-casing")
        if not self.byte_level and "unk" not in special:
            raise UserError("a tokenizer of characters needs a piece for unknown ones")
        self._ranks: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (left, right) in enumerate(self.merges):
            joined = left + right
            for piece in (left, right, joined):
                if piece not in self.ids:
                    raise UserError(f'merge {rank} needs the piece "{piece}", which the vocabulary does not have')
            self._ranks.setdefault((self.ids[left], self.ids[right]), (rank, self.ids[joined]))
        self._split = gpt2_words if self.byte_level else lower_words if self.lowercase else cased_words
        self._cache = WordCache(self._spell)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "pieces": self.pieces, "special": self.special, "byte_level": self.byte_level,
            "merges": [list(pair) for pair in self.merges], "lowercase": self.lowercase,
        }  # fmt: skip

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        split, ids = self._split, self._cache.ids
        return [ids(split(text)) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Byte-level: the exact text, with U+FFFD where the bytes are not UTF-8; otherwise words and single spaces."""
        reserved = set(self.special.values())
        pieces = [piece for piece in (self.pieces[number] for number in ids) if piece not in reserved]
        text = "".join(pieces)
        if self.byte_level:
            return to_bytes(text).decode("utf-8", "replace")
        return text.replace(END, " ").rstrip(" ")

    def _letters(self, word: str) -> list[int]:
        if self.byte_level:
            return [self.ids[letter] for letter in to_letters(word)]
        unknown = self.ids[self.special["unk"]]
        letters = [*word[:-1], word[-1] + END]
        return [self.ids.get(letter, unknown) for letter in letters]

    def _spell(self, word: str) -> list[int]:
        letters = self._letters(word)
        return self._merge_short(letters) if len(letters) <= _SHORT else self._merge_long(letters)

    def _merge_short(self, ids: list[int]) -> list[int]:
        """Look at every pair, join the first-learnt one everywhere, again."""
        ranks, none = self._ranks, (len(self.merges), -1)
        while len(ids) > 1:
            best = min(ranks.get(pair, none) for pair in pairwise(ids))
            if best is none:
                break
            joined: list[int] = []
            place, last = 0, len(ids) - 1
            while place <= last:
                if place < last and ranks.get((ids[place], ids[place + 1]), none) == best:
                    joined.append(best[1])
                    place += 2
                else:
                    joined.append(ids[place])
                    place += 1
            ids = joined
        return ids

    def _merge_long(self, ids: list[int]) -> list[int]:
        """The same result with a heap of candidate pairs over a linked list: n log n for a word of n letters."""
        size = len(ids)
        before, after = list(range(-1, size - 1)), [*range(1, size), -1]
        heap: list[tuple[int, int, int, int, int]] = []

        def offer(left: int) -> None:
            right = after[left]
            if right >= 0 and (found := self._ranks.get((ids[left], ids[right]))):
                heapq.heappush(heap, (found[0], left, ids[left], ids[right], found[1]))

        for place in range(size - 1):
            offer(place)
        while heap:
            _, left, first, second, joined = heapq.heappop(heap)
            right = after[left] if ids[left] == first else -1
            if right < 0 or ids[right] != second:
                continue  # one of the two has been joined since
            ids[left], ids[right], after[left] = joined, -1, after[right]
            if after[right] >= 0:
                before[after[right]] = left
            if before[left] >= 0:
                offer(before[left])
            offer(left)
        return [number for number in ids if number >= 0]
