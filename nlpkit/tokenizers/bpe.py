"""Byte-pair encoding (Sennrich et al. 2016, section 3.2; on bytes: Radford et al. 2019, section 2.2).

A word begins as its letters; then the pair whose merge was learnt first is joined, until no pair has a merge. On bytes
every text can be encoded and decoding returns it exactly; on characters, unseen ones become [UNK] and words end with
``</w>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import pretokenize, spelling
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import Spellings, by_words
from nlpkit.tokenizers.fast import Plan
from nlpkit.tokenizers.merging import Merges
from nlpkit.tokenizers.rows import Rows

END = "</w>"


class BPE(Tokenizer):
    """``merges`` are pairs of pieces in the order they were learnt; ``byte_level`` says what letters are;
    ``lowercase`` and ``strip_accents`` are for characters only (BERT's basic words; None: as ``lowercase``)."""

    kind: ClassVar[str] = "bpe"

    def __init__(
        self,
        pieces: Sequence[str],
        special: dict[str, str],
        merges: Sequence[Sequence[str]],
        byte_level: bool = True,
        lowercase: bool = False,
        strip_accents: bool | None = None,
    ) -> None:
        super().__init__(pieces, special)
        self.merges = [(str(left), str(right)) for left, right in merges]
        self.byte_level, self.lowercase = bool(byte_level), bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        if self.byte_level and (self.lowercase or self.strip_accents):
            raise UserError("a byte-level tokenizer keeps its text exactly; it has no lower-casing, and keeps accents")
        if not self.byte_level and "unk" not in special:
            raise UserError("a tokenizer of characters needs a piece for unknown ones")
        find = self.ids
        try:
            self._learnt = [(find[left], find[right], find[left + right]) for left, right in self.merges]
        except KeyError as missing:
            raise self._lacks(str(missing.args[0])) from None
        split: Callable[[str], list[str]]
        if self.byte_level:
            self._letters = np.array([self._need(letter) for letter in pretokenize.BYTE_LETTERS], np.int32)
            self._chunks, split = pretokenize.gpt2_chunks, pretokenize.gpt2_words
        else:
            self._chunks = pretokenize.chunks
            split = pretokenize.words_by(lower=self.lowercase, strip=self.strip_accents)
        self._spellings = Spellings(by_words(split, self._spell))

    @cached_property
    def _merges(self) -> Merges:
        return Merges(self._learnt, self.vocab_size)

    def _need(self, piece: str) -> int:
        if piece not in self.ids:
            raise self._lacks(piece)
        return self.ids[piece]

    @staticmethod
    def _lacks(piece: str) -> UserError:
        return UserError(f'a byte or a merge needs the piece "{piece}", which the vocabulary does not have')

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pieces": self.pieces,
            "special": self.special,
            "byte_level": self.byte_level,
            "merges": [list(pair) for pair in self.merges],
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
        }

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return self._spellings.ids(map(self._chunks, texts))

    def plan(self) -> Plan:
        if self.byte_level:
            return Plan(
                spelling.LEADING,
                spelling.MERGES,
                self._spellings.spell,
                merges=self._learnt,
                letters=np.tile(self._letters, 2),
            )
        find, unknown = self.ids.get, self.ids[self.special["unk"]]
        letters = [find(chr(byte) + end, unknown) for end in ("", END) for byte in range(256)]
        return Plan(
            spelling.BASIC,
            spelling.MERGES,
            self._spellings.spell,
            self.lowercase,
            merges=self._learnt,
            letters=np.array(letters, np.int32),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Byte-level: the exact text, with U+FFFD where the bytes are not UTF-8; otherwise words and single spaces."""
        reserved = set(self.special.values())
        pieces = [piece for piece in (self.pieces[number] for number in ids) if piece not in reserved]
        text = "".join(pieces)
        if self.byte_level:
            return pretokenize.to_bytes(text).decode("utf-8", "replace")
        return text.replace(END, " ").rstrip(" ")

    def _spell(self, words: list[str]) -> Rows:
        return self._merges.apply(self._bytes(words) if self.byte_level else self._characters(words))

    def _bytes(self, words: list[str]) -> Rows:
        encoded = [word.encode("utf-8", "surrogatepass") for word in words]
        ids = self._letters[np.frombuffer(b"".join(encoded), np.uint8)]
        return Rows.of(ids, np.array(list(map(len, encoded)), np.int64))

    def _characters(self, words: list[str]) -> Rows:
        """Letters are characters; the last of a word has ``</w>`` after it."""
        find, unknown = self.ids.get, self.ids[self.special["unk"]]
        ids = [find(letter, unknown) for word in words for letter in (*word[:-1], word[-1] + END)]
        return Rows.of(np.array(ids, np.int32), np.array(list(map(len, words)), np.int64))
