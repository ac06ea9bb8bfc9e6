"""Applying merges to words: the first-learnt pair of neighbours is joined, the leftmost first, until none is left
(Sennrich et al. 2016, section 3.2).

Many words are merged at once, as arrays: each round joins one pair in every word that still has one. Words of more than
`SHORT` letters go through a heap, n log n for n letters.

Shapes: W words, T letters of all words.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from nlpkit.tokenizers.rows import Ids, Ints, Rows

SHORT = 48  # letters of a word; in the rounds a word costs the square of its letters
_INDEX = 0xFFFFFFFF  # the low 32 bits


class Merges:
    """Merges of ids in the order they were learnt: (left, right, joined). If a pair occurs twice, the last counts, as
    in the tokenizers library."""

    def __init__(self, learnt: Sequence[tuple[int, int, int]], vocab_size: int) -> None:
        table = np.array(learnt, np.int64).reshape(-1, 3)
        self._none = len(table)
        self._base = vocab_size
        self._joined = table[:, 2]
        self._keys, last = np.unique((table[:, 0] * vocab_size + table[:, 1])[::-1], return_index=True)
        self._ranks = self._none - 1 - last

    @cached_property
    def _table(self) -> dict[int, int]:
        return dict(zip(self._keys.tolist(), self._ranks.tolist(), strict=True))

    def apply(self, letters: Rows) -> Rows:
        """The pieces of words; ``letters`` are their rows of letters, contiguous."""
        short = np.flatnonzero(letters.size <= SHORT)
        long = np.flatnonzero(letters.size > SHORT)
        done = self._rounds(letters.take(short))
        if len(long) == 0:
            return done
        parts = [self._heap(letters.take(long[index : index + 1]).ids) for index in range(len(long))]
        sizes = np.array(list(map(len, parts)), np.int64)
        both = Rows.of(np.concatenate([done.ids, *parts]), np.concatenate([done.size, sizes]))
        order = np.empty(len(letters.size), np.int64)
        order[np.concatenate([short, long])] = np.arange(len(order))
        return both.take(order)

    def _rank(self, left: Ids, right: Ids) -> Ints:
        """The rank of each pair's merge; ``_none``: the pair has none."""
        if self._none == 0:
            return np.zeros(len(left), np.int64)
        key = left.astype(np.int64) * self._base + right
        index = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return np.where(self._keys[index] == key, self._ranks[index], self._none)

    def _rounds(self, words: Rows) -> Rows:
        """Every round joins the leftmost of the best pairs of each word."""
        ids, size, number, begin = words.ids, words.size, np.arange(len(words.size)), words.begin
        rank = np.full(len(ids), self._none)
        rank[:-1] = self._rank(ids[:-1], ids[1:])
        rank[begin + size - 1] = self._none  # the last letter of a word has no neighbour
        done: list[tuple[Ints, Ids, Ints]] = []
        while len(number):
            # Rank and index in one number: the smallest of a word is its leftmost best pair.
            best = np.minimum.reduceat(rank << 32 | np.arange(len(rank)), begin)
            going = best >> 32 < self._none
            if not going.all():
                stays = np.repeat(going, size)
                done.append((number[~going], ids[~stays], size[~going]))
                best = (best - np.cumsum(~stays)[best & _INDEX])[going]
                ids, rank, number, size = ids[stays], rank[stays], number[going], size[going]
            index = best & _INDEX
            ids[index] = self._joined[best >> 32]
            remains = np.ones(len(ids), bool)
            remains[index + 1] = False
            ids, rank, size = ids[remains], rank[remains], size - 1
            index -= np.arange(len(index))  # each word before has lost one letter
            begin = np.cumsum(size) - size
            rank[index] = self._none
            for left in (index[index < begin + size - 1], index[index > begin] - 1):
                rank[left] = self._rank(ids[left], ids[left + 1])
        if not done:
            return words
        order = np.empty(len(words.size), np.int64)
        order[np.concatenate([numbers for numbers, _, _ in done])] = np.arange(len(order))
        sizes = np.concatenate([size for _, _, size in done])
        return Rows.of(np.concatenate([ids for _, ids, _ in done]), sizes).take(order)

    def _heap(self, letters: Ids) -> list[int]:
        """The same for one word, with a heap of candidate pairs over a linked list."""
        ids, size = letters.tolist(), len(letters)
        before, after = list(range(-1, size - 1)), [*range(1, size), -1]
        ranks = self._rank(letters[:-1], letters[1:])
        known = np.flatnonzero(ranks < self._none).tolist()
        heap = [(int(ranks[left]), left, ids[left], ids[left + 1]) for left in known]
        heapq.heapify(heap)
        joined, find, base = self._joined.tolist(), self._table.get, self._base
        while heap:
            rank, left, first, second = heapq.heappop(heap)
            right = after[left]
            if ids[left] != first or right < 0 or ids[right] != second:
                continue  # one of the two has been joined since
            ids[left], ids[right], after[left] = joined[rank], -1, after[right]
            if after[right] >= 0:
                before[after[right]] = left
            for index in (before[left], left):
                if index >= 0 and after[index] >= 0:
                    pair = ids[index], ids[after[index]]
                    new_rank = find(pair[0] * base + pair[1])
                    if new_rank is not None:
                        heapq.heappush(heap, (new_rank, index, *pair))
        return [number for number in ids if number >= 0]
