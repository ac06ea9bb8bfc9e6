"""The units that get a vector: the words of a sentence, or the pieces of a tokenizer.

Words are BERT's basic words (`nlpkit.tokenizers.normalize`) that have a letter or a digit: punctuation and
symbols alone are left out, "don't" is don and t, "well-known" is well and known, a Chinese character is a word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nlpkit.machine.kernel import Bytes
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.pretokenize import words_by
from nlpkit.vectors.text import scan
from nlpkit.vectors.text.counting import Split, only

MAX_BYTES = 8_000_000  # bytes of non-ASCII chunks and of their words; when there are more, that table is emptied
MAX_LOCAL_WORDS = 100_000  # in the table of a thread, which is then emptied: bounds the memory of many threads


class Words:
    """Numbers words in the order they occur. ``lowercase`` and ``strip_accents``: normalize.py."""

    def __init__(self, *, lowercase: bool, strip_accents: bool = False) -> None:
        self._lowercase, self._strip_accents = lowercase, strip_accents
        self._split = words_by(lower=lowercase, strip=strip_accents)
        self._kinds, self._as_is = _kinds(lowercase)
        self._lock = threading.Lock()
        self._words = scan.table()
        self._ids_buffer = np.zeros(0, np.int32)
        self._reset_chunks()

    def _reset_chunks(self) -> None:
        self._others = scan.table()
        self._spelled = np.zeros(1 << 16, np.uint8)
        self._ends = np.zeros(1, np.int64)

    @property
    def names(self) -> list[str]:
        """The words so far, by number."""
        return _strings(self._words, 0)

    def __call__(self, lines: bytes) -> Split:
        """The numbers of all words of the sentences (lines of UTF-8 with a line feed) and the length of each."""
        split = self._numbers(np.frombuffer(lines, np.uint8), lines.count(b"\n"), self._kinds)
        if self._ends[-1] + self._others.begins[self._others.used[0]] > MAX_BYTES:
            self._reset_chunks()
        return split

    def apart(self) -> Callable[[bytes], Split]:
        """The same for one of several threads. It looks words up in a local table, and gets the number of a word that
        is new to it from this object: such words are few once a text has begun."""
        local = Words(lowercase=self._lowercase, strip_accents=self._strip_accents)
        known, numbers = 0, np.zeros(1 << 12, np.int32)

        def split(lines: bytes) -> Split:
            nonlocal known, numbers
            if known > MAX_LOCAL_WORDS:
                local._words, known = scan.table(), 0
            ids, lengths = local(lines)
            met = int(local._words.used[0])
            if met > len(numbers):
                numbers = np.concatenate([numbers, np.zeros(met, np.int32)])
            begin, end = local._words.begins[[known, met]]
            with self._lock:
                numbers[known:met], _ = self._numbers(local._words.arena[begin:end], met - known, self._as_is)
            known = met
            return numbers[ids], lengths

        return split

    def _numbers(self, text: Bytes, lines: int, kinds: Bytes) -> Split:
        if len(text) > len(self._ids_buffer):  # a byte is at most one word
            self._ids_buffer = np.empty(len(text), np.int32)
        lengths = np.empty(lines, np.int64)
        at = np.zeros(5, np.int64)
        while status := scan.KERNELS.scan(
            text, kinds, self._words, self._others, self._spelled, self._ends, at, self._ids_buffer, lengths
        ):
            if status == scan.UNKNOWN:
                while more := scan.KERNELS.collect(text, at[0], kinds[0], self._others):
                    self._others = scan.grown(self._others, more)
                self._spell()
            else:
                self._words = scan.grown(self._words, at[4])
                self._others = scan.grown(self._others, at[4])
        return self._ids_buffer[: at[1]].copy(), lengths

    def _spell(self) -> None:
        """Split the chunks that the kernel collected into words."""
        words = [
            " ".join([word for word in self._split(chunk) if word.isalnum() or any(map(str.isalnum, word))])
            for chunk in _strings(self._others, len(self._ends) - 1)
        ]
        new = "\n".join([*words, ""]).encode("utf-8", "surrogatepass")
        used, size = int(self._ends[-1]), len(new)
        if used + size > len(self._spelled):
            self._spelled = np.concatenate([self._spelled[:used], np.zeros(used + 2 * size, np.uint8)])
        self._spelled[used : used + size] = np.frombuffer(new, np.uint8)
        self._ends = np.concatenate([self._ends, np.flatnonzero(self._spelled[used : used + size] == 10) + used + 1])


def _kinds(lowercase: bool) -> tuple[Bytes, Bytes]:
    """The kind of each byte for the kernel: in a text [0], and in words with white space between them [1]. The second
    result is for a text of final words, one per line."""
    kinds = np.full((2, 256), scan.OTHER, np.uint8)
    kinds[0, ord("!") : ord("~") + 1] = scan.SIGN
    for letter in range(128):
        if chr(letter).isalnum():
            kinds[0, letter] = ord(chr(letter).lower()) if lowercase else letter
    kinds[0, [ord(" "), ord("\t"), ord("\r")]] = scan.SPACE
    kinds[0, ord("\n")] = scan.LINE
    kinds[1, ord("!") :] = range(ord("!"), 256)
    as_is = kinds[[1, 1]]
    as_is[0, ord("\n")] = scan.LINE
    return kinds, as_is


def _strings(table: scan.Table, first: int) -> list[str]:
    """The strings of a table from number ``first`` on."""
    begin, end = table.begins[[first, table.used[0]]]
    return table.arena[begin:end].tobytes().decode("utf-8", "surrogatepass").split("\n")[:-1]


class Pieces:
    """Pieces of a tokenizer by their ids; its special pieces, the unknown one among them, get no vector."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.names = tokenizer.pieces
        self._ordinary = ordinary(tokenizer)

    def __call__(self, lines: bytes) -> Split:
        """The ids of all pieces of the sentences, lines of UTF-8 that end with a line feed, and the length of each."""
        pieces = self.tokenizer.encode_batch([line.strip() for line in lines.decode().split("\n")])
        ids = np.concatenate(pieces)
        return only(ids, np.array(list(map(len, pieces)), np.int64), self._ordinary[ids])


def ordinary(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Mask of the pieces that get a vector: all except the special ones."""
    mask = np.ones(tokenizer.vocab_size, np.bool_)
    mask[[tokenizer.ids[piece] for piece in tokenizer.special.values()]] = False
    return mask
