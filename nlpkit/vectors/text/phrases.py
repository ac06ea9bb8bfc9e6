"""Phrases: two words that are adjacent more often than their counts explain become one word, new_york.

Mikolov et al. 2013b, section 4, equation 6, as their tool word2phrase computes it: the pair a b of a sentence is joined
when (count(ab) - discount) / (count(a) count(b)) times the number of words is above the threshold; from left to
right, and no word is joined twice in a pass. A second pass joins phrases with their neighbours: new_york_times.

Counting is exact in bounded memory. When the table of pairs reaches its maximal size it drops one half of them, by
a bit of their hash, and another scan of the text counts the dropped half. Only pairs that can exceed the threshold are
counted: their words must be more frequent than the discount, and not so frequent that no count of a pair would do.

Shapes: U different words, N words of a block, S sentences of a block, P pairs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.vectors.base import Ids
from nlpkit.vectors.text.counting import Split, Spool, count
from nlpkit.vectors.text.scan import KERNELS

THRESHOLD = 100.0  # word2phrase's
_MAX_SLOTS = 1 << 23  # slots of the table of pairs, 16 bytes each; it is never more than half full

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Source(Protocol):
    """Sentences as ids that can be read any number of times."""

    def blocks(self) -> Iterator[Split]: ...

    def close(self) -> None: ...


class Joined(NamedTuple):
    """A text with its phrases joined, the names and counts of its words [U], and the pairs that were joined."""

    source: Spool
    names: list[str]
    counts: Longs
    pairs: list[tuple[str, str]]


def join(
    source: Source, names: Sequence[str], counts: Longs, *, discount: int, threshold: float, target: Path
) -> Joined:
    """One pass over a text whose words have these names and counts [U]. Closes the source.

    The joined text is spooled beside the file ``target``.
    """
    keys, times = _phrases(source, counts, discount, threshold)
    first, second = (keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist()
    pairs = [(names[a], names[b]) for a, b in zip(first, second, strict=True)]
    rows = heapq.nsmallest(3, range(len(pairs)), key=lambda row: (-times[row], pairs[row]))
    best = ["_".join(pairs[row]) for row in rows]
    shown = f": {', '.join(best)}{', ...' if len(pairs) > 3 else ''}" if pairs else ""
    events.note(f"{len(pairs):,} pairs of words are phrases{shown}")
    return again(source, names, pairs, target)


def again(source: Source, names: Sequence[str], pairs: list[tuple[str, str]], target: Path) -> Joined:
    """Join the pairs of another text in this one. Closes the source.

    A phrase that has the name of a word is that word: a_b and c give what a and b_c give.
    """
    known = {name: number for number, name in enumerate(names)}
    present = sorted((known[a] << 32) + known[b] for a, b in pairs if a in known and b in known)
    keys = np.array(present, np.int64)
    first, second = keys >> 32, keys & 0xFFFFFFFF
    joined = [f"{names[a]}_{names[b]}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    new = np.array([known.setdefault(name, len(known)) for name in joined], np.int32)
    opens = np.zeros(len(names), np.bool_)
    opens[first] = True

    def join(ids: Ids, lengths: Longs) -> tuple[Ids, Longs]:
        out, sizes = np.empty(len(ids), np.int32), np.empty(len(lengths), np.int64)
        return out[: KERNELS.join(ids, lengths, keys, new, opens, out, sizes)], sizes

    spool = Spool(target)
    counts = count((join(*block) for block in source.blocks()), spool, "joining phrases")
    source.close()
    return Joined(spool, list(known), counts, pairs)


def _phrases(source: Source, counts: Longs, discount: int, threshold: float) -> tuple[Longs, Longs]:
    """The pairs to join, in ascending order, and their counts; a pair is (first << 32) + second."""
    total = int(counts.sum())
    eligible = (counts > discount) & (counts * threshold < total)
    pairs, times_of = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    parts = [(0, 0)]
    while parts:
        keys, times = _count(source, eligible, parts)
        first, second = counts[keys >> 32], counts[keys & 0xFFFFFFFF]
        score = (times - discount) / (first.astype(np.float64) * second) * total
        pairs.append(keys[score > threshold])
        times_of.append(times[score > threshold])
    joined = np.concatenate(pairs)
    order = np.argsort(joined)
    return joined[order], np.concatenate(times_of)[order]


def _count(source: Source, eligible: Flags, parts: list[tuple[int, int]]) -> tuple[Longs, Longs]:
    """The pairs whose hash ends in certain bits, and their counts. Pops a part (mask, bits) of ``parts``; when its
    pairs are too many it counts half of them and pushes the other half as a part."""
    mask, bits = parts.pop()
    size = min(1 << 16, _MAX_SLOTS)
    keys, times, used = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(1, np.int64)
    none = np.zeros(0, np.int64)
    for ids, lengths in source.blocks():
        pairs = _pairs(ids, lengths, eligible)
        done = 0
        while (done := KERNELS.add_pairs(pairs, none, done, mask, bits, keys, times, used)) < len(pairs):
            if len(keys) == _MAX_SLOTS:
                mask = 2 * mask + 1
                parts.append((mask, bits + (mask >> 1) + 1))
            size = min(2 * len(keys), _MAX_SLOTS)
            old, old_times = keys[keys > 0] - 1, times[keys > 0]
            keys, times, used = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(1, np.int64)
            KERNELS.add_pairs(old, old_times, 0, mask, bits, keys, times, used)
    return keys[keys > 0] - 1, times[keys > 0]


def _pairs(ids: Ids, lengths: Longs, eligible: Flags) -> Longs:
    """The pairs of adjacent words of each sentence that are both eligible, [P]."""
    inside = np.ones(len(ids), np.bool_)
    inside[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
    fit = eligible[ids]
    second = np.flatnonzero(inside & fit & np.concatenate([[False], fit[:-1]]))
    return (ids[second - 1].astype(np.int64) << 32) + ids[second]
