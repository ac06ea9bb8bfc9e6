"""Learning merges: of all neighbouring pairs the most frequent is joined, again and again (Sennrich et al. 2016,
algorithm 1).

Ties are decided by the pair's ids, and so by nothing that a hash, a thread or a process could change. The same merges
as the tokenizers library's BPE trainer, whose order this is; it serves WordPiece by frequency too.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nlpkit.base import events


@dataclass
class Words:
    """Every distinct word as a list of symbols, its count, and the words that contain each pair of neighbours."""

    words: list[list[int]]
    counts: list[int]
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    where: dict[tuple[int, int], array[int]] = field(default_factory=dict)  # numbers of words, 4 bytes each
    joined: int = 0  # how often the last join happened

    def __post_init__(self) -> None:
        for number, word in enumerate(self.words):
            count = self.counts[number]
            for pair in pairwise(word):
                self.pairs[pair] = self.pairs.get(pair, 0) + count
                self._note(pair, number)

    def _note(self, pair: tuple[int, int], number: int) -> None:
        """Note that a word contains a pair. A word noted twice, or that has lost the pair, costs `join` some time."""
        numbers = self.where.get(pair)
        if numbers is None:
            self.where[pair] = array("I", (number,))
        elif numbers[-1] != number:
            numbers.append(number)

    def join(self, pair: tuple[int, int], new: int) -> dict[tuple[int, int], int]:
        """Replace the pair by ``new`` in every word; returns by how much each other pair's count changed."""
        left, right = pair
        changes: dict[tuple[int, int], int] = {}
        self.joined = 0
        for number in self.where.pop(pair, ()):
            word, count = self.words[number], self.counts[number]
            index = 0
            while index < len(word) - 1:
                if word[index] != left or word[index + 1] != right:
                    index += 1
                    continue
                word[index : index + 2] = [new]
                self.joined += count
                if index:
                    before = word[index - 1]
                    changes[(before, left)] = changes.get((before, left), 0) - count
                    changes[(before, new)] = changes.get((before, new), 0) + count
                    self._note((before, new), number)
                if index + 1 < len(word):
                    after = word[index + 1]
                    changes[(right, after)] = changes.get((right, after), 0) - count
                    changes[(new, after)] = changes.get((new, after), 0) + count
                    self._note((new, after), number)
                index += 1
        self.pairs.pop(pair, None)
        changes.pop(pair, None)
        for other, change in changes.items():
            self.pairs[other] = self.pairs.get(other, 0) + change
        return changes


def learn_merges(
    spelled: Mapping[tuple[str, ...], int], pieces: list[str], size: int, *, min_count: int, join: Joining
) -> list[tuple[str, str]]:
    """Join pairs until ``pieces`` (which grows) has ``size`` entries or no pair is as frequent as ``min_count``.

    ``spelled`` maps words, as tuples of pieces, to counts; ``join(left, right)`` is the text of a joined piece.
    """
    ids = {piece: number for number, piece in enumerate(pieces)}
    words = Words([[ids[piece] for piece in word] for word in spelled], list(spelled.values()))
    heap = [(-count, pair) for pair, count in words.pairs.items()]
    heapq.heapify(heap)
    merges: list[tuple[str, str]] = []
    while len(pieces) < size and heap:
        negative, pair = heapq.heappop(heap)
        count = words.pairs.get(pair, 0)
        if count != -negative:
            if count > 0:
                heapq.heappush(heap, (-count, pair))
            continue
        if count < max(1, min_count):
            break
        left, right = pieces[pair[0]], pieces[pair[1]]
        joined = join(left, right)
        if joined not in ids:
            ids[joined] = len(pieces)
            pieces.append(joined)
        merges.append((left, right))
        for other, change in words.join(pair, ids[joined]).items():
            if change > 0:
                heapq.heappush(heap, (-words.pairs[other], other))
        if len(merges) % 500 == 0:
            events.emit("progress", label="pieces", done=len(pieces), total=size, unit="")
    return merges


class Joining:
    """How two pieces become one: by writing them together, without what marks the second as a continuation."""

    def __init__(self, continuation: str = "") -> None:
        self.continuation = continuation

    def __call__(self, left: str, right: str) -> str:
        return left + right.removeprefix(self.continuation)


def alphabet(spelled: Mapping[tuple[str, ...], int], most: int) -> Sequence[str]:
    """The letters of all words, by text; when there are more than ``most``, the most frequent ones."""
    counts: dict[str, int] = {}
    for word, count in spelled.items():
        for letter in word:
            counts[letter] = counts.get(letter, 0) + count
    if len(counts) > most:
        frequent = sorted(counts, key=lambda letter: (-counts[letter], letter))[:most]
        lost = sum(counts.values()) - sum(counts[letter] for letter in frequent)
        events.note(f"{len(counts):,} letters; the {most:,} most frequent are kept, {lost:,} uses become unknown")
        return sorted(frequent)
    return sorted(counts)
