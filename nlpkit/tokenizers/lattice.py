"""All segmentations of texts into given pieces, as one graph that numpy walks.

A text of n characters has n + 1 nodes; every occurrence of a piece is an edge between two of them. Nodes are numbered
by depth (characters from the start) over all texts at once, so that one step of a walk is one operation on all texts.

Shapes: W texts, N nodes, E edges, P pieces, C characters of all texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_CODES = 0x110000  # code points: (number of a prefix, next character) is one integer in this base


@dataclass(frozen=True)
class Texts:
    """Texts, the longest first, as one row of characters."""

    codes: Ints  # [C]
    lengths: Ints  # [W], descending
    begin: Ints  # [W], the first character of each text
    text_of: Ints  # [C], the text of a character
    remaining: Ints  # [C], characters from here to the text's end

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        lengths = np.array([len(text) for text in texts], np.int64)
        ends = np.cumsum(lengths)
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
        text_of = np.repeat(np.arange(len(texts)), lengths)
        return cls(codes, lengths, ends - lengths, text_of, ends[text_of] - np.arange(len(codes)))


@dataclass(frozen=True)
class Lattice:
    """Edges are sorted by target, then source: of two equally good paths the first one ends with the longer piece,
    which is also the choice of sentencepiece and tokenizers."""

    nodes: Ints  # [depths + 1], the first node of each depth
    source: Ints  # [E]
    target: Ints  # [E]
    piece: Ints  # [E]
    last: Ints  # [W], each text's last node

    @classmethod
    def of(cls, texts: Texts, pieces: Sequence[str]) -> Lattice:
        """The lattice of ``texts``, each of whose characters must be a piece."""
        starts, sizes, piece = _matches(texts, pieces)
        alive = np.bincount(texts.lengths, minlength=1)[::-1].cumsum()[::-1]  # texts with at least so many characters
        nodes = np.concatenate([[0], alive.cumsum()])
        text, depth = texts.text_of[starts], starts - texts.begin[texts.text_of[starts]]
        source, target = nodes[depth] + text, nodes[depth + sizes] + text
        order = np.lexsort((source, target))
        last = nodes[texts.lengths] + np.arange(len(texts.lengths))
        return cls(nodes, source[order], target[order], piece[order], last)

    def keep(self, edges: NDArray[np.bool_], renumbered: Ints | None = None) -> Lattice:
        """The lattice with only these edges; ``renumbered`` gives the pieces new numbers."""
        piece = self.piece[edges]
        return replace(
            self,
            source=self.source[edges],
            target=self.target[edges],
            piece=piece if renumbered is None else renumbered[piece],
        )

    def _steps(self) -> Iterator[tuple[slice, slice, Ints]]:
        """Depth after depth: its nodes, the edges into them, and where each node's edges begin."""
        edges = np.searchsorted(self.target, self.nodes)
        begins = np.searchsorted(self.target, np.arange(self.nodes[-1] + 1))
        for depth in range(1, len(self.nodes) - 1):
            nodes = slice(int(self.nodes[depth]), int(self.nodes[depth + 1]))
            here = slice(int(edges[depth]), int(edges[depth + 1]))
            yield nodes, here, begins[nodes] - here.start

    def expected(self, scores: Floats, weight: Floats) -> tuple[Floats, float]:
        """Expected uses of each piece [P] under log-probabilities ``scores`` [P], and the log-likelihood.

        Forward, each edge gets its probability among all paths that reach its target; backward, these are multiplied
        by the mass of the target, which begins with the texts' ``weight`` [W]. Everything added up lies between 0 and
        1, so nothing can overflow.
        """
        reach, posterior = np.zeros(self.nodes[-1]), np.empty(len(self.piece))
        steps = list(self._steps())
        for nodes, edges, begins in steps:
            sizes = np.diff(begins, append=edges.stop - edges.start)
            way = reach[self.source[edges]] + scores[self.piece[edges]]
            top = np.maximum.reduceat(way, begins)
            way = np.exp(way - np.repeat(top, sizes))
            total = np.add.reduceat(way, begins)
            posterior[edges] = way / np.repeat(total, sizes)
            reach[nodes] = top + np.log(total)
        mass = np.zeros(self.nodes[-1])
        mass[self.last] = weight
        for _, edges, _ in reversed(steps):
            posterior[edges] *= mass[self.target[edges]]
            source = self.source[edges]
            low = int(source.min())
            handed = np.bincount(source - low, posterior[edges])
            mass[low : low + len(handed)] += handed
        uses: Floats = np.bincount(self.piece, posterior, len(scores)).astype(np.float64)
        return uses, float((reach[self.last] * weight).sum())

    def best(self, scores: Floats) -> tuple[Floats, Ints]:
        """Viterbi: the best score to reach each node [N], and the edge by which it is reached [N]."""
        reach, by = np.zeros(self.nodes[-1]), np.full(self.nodes[-1], -1)
        for nodes, edges, begins in self._steps():
            sizes = np.diff(begins, append=edges.stop - edges.start)
            way = reach[self.source[edges]] + scores[self.piece[edges]]
            top = np.maximum.reduceat(way, begins)
            number = np.arange(edges.start, edges.stop)
            first = np.where(way == np.repeat(top, sizes), number, edges.stop)
            reach[nodes], by[nodes] = top, np.minimum.reduceat(first, begins)
        return reach, by

    def paths(self, by: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Follow the best paths back, all texts at once: (texts that have not reached their start, piece of each)."""
        text, node = np.arange(len(self.last)), self.last
        while len(text):
            edge = by[node]
            yield text, self.piece[edge]
            node = self.source[edge]
            walking = node >= self.nodes[1]
            text, node = text[walking], node[walking]


def _matches(texts: Texts, pieces: Sequence[str]) -> tuple[Ints, Ints, Ints]:
    """Every occurrence of a piece: (first character, length, piece), [E] each.

    The pieces' prefixes are numbered length by length, (number of the prefix, next character) -> number. Each position
    in the texts keeps the number of the prefix that begins there, and is dropped once no piece continues it.
    """
    table = Texts.of(pieces)
    candidate, candidate_prefix = np.arange(len(pieces)), np.zeros(len(pieces), np.int64)
    position, number = np.arange(len(texts.codes)), np.zeros(len(texts.codes), np.int64)
    matches: list[tuple[Ints, Ints, Ints]] = []
    for length in range(1, int(table.lengths.max(initial=0)) + 1):
        longer = table.lengths[candidate] >= length
        candidate, candidate_prefix = candidate[longer], candidate_prefix[longer]
        prefixes, candidate_prefix = np.unique(
            candidate_prefix * _CODES + table.codes[table.begin[candidate] + length - 1], return_inverse=True
        )
        whole = np.full(len(prefixes), -1)
        ends = table.lengths[candidate] == length
        whole[candidate_prefix[ends]] = candidate[ends]
        fits = texts.remaining[position] >= length
        position, number = position[fits], number[fits]
        key = number * _CODES + texts.codes[position + length - 1]
        number = np.minimum(np.searchsorted(prefixes, key), len(prefixes) - 1)
        alive = prefixes[number] == key
        position, number = position[alive], number[alive]
        piece = whole[number]
        is_piece = piece >= 0
        starts = position[is_piece]
        matches.append((starts, np.full(len(starts), length), piece[is_piece]))
    starts, sizes, numbers = (np.concatenate([part[index] for part in matches]) for index in range(3))
    return starts, sizes, numbers
