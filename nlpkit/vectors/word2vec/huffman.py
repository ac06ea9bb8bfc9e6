"""The Huffman tree of hierarchical softmax (Morin and Bengio 2005; Mikolov et al. 2013b, section 2.1).

A word's probability is a product over the inner nodes on its path from the root: sigma(node . h) where its code is 0,
sigma(-node . h) where it is 1. V words have V - 1 inner nodes; the last is the root.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """Paths of all words, one behind the other: that of word w is ``[offsets[w] : offsets[w + 1]]``, from the root.

    Shapes: nodes [P] int32 in 0..V-2, codes [P] uint8 (0 or 1), offsets [V + 1] int64, P the sum of the lengths.
    """

    nodes: NDArray[np.int32]
    codes: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def path(self, word: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Nodes and codes of one word."""
        here = slice(self.offsets[word], self.offsets[word + 1])
        return self.nodes[here], self.codes[here]


def tree(counts: NDArray[np.int64]) -> Tree:
    """The tree of words whose counts fall. Of equal counts a word goes before an inner node, a later word before an
    earlier one, an older node before a younger: the same counts give the same tree."""
    words = len(counts)
    parent, code = _parents(counts.tolist())
    depth = np.zeros(2 * words - 1, np.int64)
    for node in range(2 * words - 3, -1, -1):  # a parent has a higher number than its children
        depth[node] = depth[parent[node]] + 1
    offsets = np.concatenate([[0], np.cumsum(depth[:words])])
    nodes, codes = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint8)
    up, place = np.asarray(parent, np.int64), offsets[1:] - 1
    here, open_words = np.arange(words), np.flatnonzero(depth[:words] > 0)
    code_of = np.asarray(code, np.uint8)
    while len(open_words):  # one level of all paths at a time, from the leaves up
        current = here[open_words]
        nodes[place[open_words]] = up[current] - words
        codes[place[open_words]] = code_of[current]
        here[open_words] = up[current]
        place[open_words] -= 1
        open_words = open_words[up[current] != 2 * words - 2]
    return Tree(nodes, codes, offsets)


def _parents(counts: list[int]) -> tuple[list[int], list[int]]:
    """For each of the 2V - 1 nodes (words, then inner nodes in the order they are made) its parent and its code.

    The two lightest nodes are joined again and again. As counts fall and joined weights rise, both kinds wait in order.
    """
    words = len(counts)
    weight = counts + [0] * (words - 1)
    parent, code = [0] * (2 * words - 1), [0] * (2 * words - 1)
    leaf, inner = words - 1, words
    for made in range(words, 2 * words - 1):
        for side in (0, 1):
            if leaf >= 0 and (inner >= made or weight[leaf] <= weight[inner]):
                lightest, leaf = leaf, leaf - 1
            else:
                lightest, inner = inner, inner + 1
            parent[lightest], code[lightest] = made, side
            weight[made] += weight[lightest]
    return parent, code
