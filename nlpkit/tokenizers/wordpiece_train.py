"""Learning WordPieces by likelihood: of all possible joins the one that makes the training text most likely
(Schuster and Nakajima 2012, section 3).

The model is a unigram over the corpus as it is spelled now: pieces with counts f that sum to N. Joining a and b, which
are neighbours n times, changes its log-likelihood by

    g(n) + g(f(a) - n) + g(f(b) - n) - g(f(a)) - g(f(b)) + g(N) - g(N - n),   g(x) = x log x

which is exact but for the neighbours' overlaps. ``ratio`` is the short form n / (f(a) f(b)) that many courses teach; it
prefers rare pairs. Frequency, which the tokenizers library's "WordPiece" trainer uses, is in bpe_train.py.

Every candidate is scored anew before each join (N changes them all), as vectors. Ties: the more frequent pair, then
the smaller ids. A pair must occur ``min_count`` times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.tokenizers.bpe_train import Joining, Words

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def _g(x: NDArray[np.int64]) -> Floats:
    values = np.maximum(x, 1).astype(np.float64)
    return np.asarray(values * np.log(values))


def likelihood(n: Ints, fa: Ints, fb: Ints, same: NDArray[np.bool_], total: int) -> Floats:
    """The change of the log-likelihood by each join; ``same`` marks pairs of a piece with itself."""
    left, right = np.where(same, fa - 2 * n, fa - n), np.where(same, 1, fb - n)
    before = _g(fa) + np.where(same, 0.0, _g(fb))
    whole = np.full(1, total)
    return np.asarray(_g(n) + _g(left) + _g(right) - before + _g(whole) - _g(total - n))


def ratio(n: Ints, fa: Ints, fb: Ints, same: NDArray[np.bool_], total: int) -> Floats:
    """n / (f(a) f(b))."""
    return np.asarray(n / (fa.astype(np.float64) * fb))


SCORES: dict[str, Callable[[Ints, Ints, Ints, NDArray[np.bool_], int], Floats]] = {
    "likelihood": likelihood,
    "ratio": ratio,
}


class Pairs:
    """The neighbouring pairs as columns of numbers that grow: left, right, count."""

    def __init__(self, pairs: Mapping[tuple[int, int], int]) -> None:
        self.slots = {pair: slot for slot, pair in enumerate(pairs)}
        capacity = 2 * len(pairs) + 1024
        self.columns = np.zeros((3, capacity), np.int64)
        if pairs:
            self.columns[:2, : len(pairs)] = np.array(list(pairs)).T
            self.columns[2, : len(pairs)] = list(pairs.values())

    def set(self, pair: tuple[int, int], count: int) -> None:
        slot = self.slots.setdefault(pair, len(self.slots))
        if slot == self.columns.shape[1]:
            self.columns = np.concatenate([self.columns, np.zeros_like(self.columns)], 1)
        self.columns[:, slot] = (*pair, count)

    def frequent(self, least: int) -> NDArray[np.int64]:
        """[3, P]: left, right, count of the pairs that occur at least so often. Rare ones are dropped now and then:
        a pair that is rare can become frequent only by a join, which sets it again."""
        live = self.columns[:, : len(self.slots)]
        columns: NDArray[np.int64] = live[:, live[2] >= least]
        if columns.shape[1] * 2 + 1024 < live.shape[1]:
            self.columns = np.concatenate([columns, np.zeros((3, columns.shape[1] + 1024), np.int64)], 1)
            self.slots = {(int(left), int(right)): slot for slot, (left, right) in enumerate(columns[:2].T)}
        return columns


def learn_pieces(
    spelled: Mapping[tuple[str, ...], int], pieces: list[str], size: int, *, min_count: int, score: str, join: Joining
) -> None:
    """Grow ``pieces`` to ``size`` entries; stops early when no pair is frequent enough or none helps."""
    ids = {piece: number for number, piece in enumerate(pieces)}
    words = Words([[ids[piece] for piece in word] for word in spelled], list(spelled.values()))
    uses = np.zeros(size + 1, np.int64)
    for word, count in zip(words.words, words.counts, strict=True):
        for symbol in word:
            uses[symbol] += count
    pairs, value = Pairs(words.pairs), SCORES[score]
    while len(pieces) < size:
        left, right, count = pairs.frequent(max(1, min_count))
        if not len(left):
            break
        scores = value(count, uses[left], uses[right], left == right, int(uses.sum()))
        best = _best(scores, left, right, count)
        if scores[best] <= 0:
            events.note(f"no further piece makes the text more likely; stopped at {len(pieces):,} pieces")
            break
        pair = (int(left[best]), int(right[best]))
        joined = join(pieces[pair[0]], pieces[pair[1]])
        if joined not in ids:
            ids[joined] = len(pieces)
            pieces.append(joined)
        changes = words.join(pair, ids[joined])
        pairs.set(pair, 0)
        for other in changes:
            pairs.set(other, words.pairs[other])
        uses[pair[0]] -= words.joined
        uses[pair[1]] -= words.joined
        uses[ids[joined]] += words.joined
        if len(pieces) % 200 == 0:
            events.emit("progress", label="pieces", done=len(pieces), total=size, unit="")


def _best(scores: Floats, left: Ints, right: Ints, count: Ints) -> int:
    """The index of the highest score; of equal ones the most frequent pair, then the smallest ids."""
    best = np.flatnonzero(scores == scores.max())
    order = np.lexsort((right[best], left[best], -count[best]))
    return int(best[order[0]])
