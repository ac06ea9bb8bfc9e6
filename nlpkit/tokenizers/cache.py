"""A cache, chunk of text -> ids: text repeats itself, so most of a text is one dict look-up a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.tokenizers.rows import Rows

MOST = 8_000_000  # characters and ids, up to 150 MB a process; the cache is then emptied

Spell = Callable[[list[str]], Rows]


class Spellings(dict[str, int]):
    """Chunk -> the number of its row of ids. ``spell`` gives the rows of new chunks, a batch of them at a time.

    Results never depend on what is cached.
    """

    def __init__(self, spell: Spell, most: int = MOST) -> None:
        super().__init__()
        self.spell, self.most = spell, most
        self._forget()

    def _forget(self) -> None:
        self.clear()
        self._new: list[str] = []
        self._weight = 0
        self._used, self._learnt = 0, 0  # ids and rows in the arrays, which have spare capacity
        self._ids = np.empty(0, np.int32)
        self._begin, self._size = np.empty(0, np.int64), np.empty(0, np.int64)

    def __missing__(self, chunk: str) -> int:
        self[chunk] = number = len(self)
        self._new.append(chunk)
        return number

    def ids(self, texts: Iterable[list[str]]) -> list[NDArray[np.int32]]:
        """The ids of each text; ``texts`` are lists of chunks."""
        counts: list[int] = []

        def counted() -> Iterator[list[str]]:
            for chunks in texts:
                counts.append(len(chunks))
                yield chunks

        number = np.fromiter(map(self.__getitem__, chain.from_iterable(counted())), np.int64)
        if self._new:
            self._learn()
        rows = Rows(self._ids, self._begin, self._size).take(number).joined(np.array(counts, np.int64))
        ends = rows.begin.tolist()
        if self._weight > self.most:
            self._forget()
        return [rows.ids[begin:end] for begin, end in pairwise([*ends, len(rows.ids)])]

    def _learn(self) -> None:
        """Spell the new chunks and append their rows."""
        rows = self.spell(self._new)
        self._ids = _put(self._ids, self._used, rows.ids)
        self._begin = _put(self._begin, self._learnt, rows.begin + self._used)
        self._size = _put(self._size, self._learnt, rows.size)
        self._used += len(rows.ids)
        self._learnt += len(rows.size)
        self._weight += len(rows.ids) + sum(map(len, self._new))
        self._new = []


def _put(array: NDArray[Any], used: int, values: NDArray[Any]) -> NDArray[Any]:
    """Write ``values`` after the first ``used`` elements of an array, which doubles when they do not fit."""
    if used + len(values) > len(array):
        array = np.concatenate([array[:used], np.empty(used + 2 * len(values), array.dtype)])
    array[used : used + len(values)] = values
    return array


def by_words(split: Callable[[str], list[str]], spell: Spell) -> Spell:
    """A speller of chunks, from one of words and the split of a chunk into words."""

    def spell_chunks(chunks: list[str]) -> Rows:
        numbers: dict[str, int] = {}
        words = [[numbers.setdefault(word, len(numbers)) for word in split(chunk)] for chunk in chunks]
        number = np.fromiter(chain.from_iterable(words), np.int64)
        return spell(list(numbers)).take(number).joined(np.array(list(map(len, words)), np.int64))

    return spell_chunks


def each(spell: Callable[[str], Sequence[int]]) -> Spell:
    """A speller of words, from one of a single word."""

    def spell_words(words: list[str]) -> Rows:
        spelled = list(map(spell, words))
        return Rows.of(
            np.array(list(chain.from_iterable(spelled)), np.int32), np.array(list(map(len, spelled)), np.int64)
        )

    return spell_words
