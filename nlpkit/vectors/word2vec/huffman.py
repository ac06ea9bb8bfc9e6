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
    """The paths of all words, one behind the other: that of word w is ``[offsets[w] : offsets[w + 1]]``, from the root.

    Shapes: nodes [P] int32 in 0..V-2, codes [P] uint8 (0 or 1), offsets [V + 1] int64, P the sum of the lengths.
    """

    nodes: NDArray[np.int32]
    codes: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def path(self, word: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Nodes and codes of one word."""
        steps = slice(self.offsets[word], self.offsets[word + 1])
        return self.nodes[steps], self.codes[steps]


def tree(counts: NDArray[np.int64]) -> Tree:
    """The tree of words with descending counts. Ties are broken so that the same counts give the same tree: a word
    before an inner node, a later word before an earlier one, an older node before a younger."""
    words = len(counts)
    parent, code = _parents(counts.tolist())
    depth = np.zeros(2 * words - 1, np.int64)
    for node in range(2 * words - 3, -1, -1):  # the index of a parent is above those of its children
        depth[node] = depth[parent[node]] + 1
    offsets = np.concatenate([[0], np.cumsum(depth[:words])])
    nodes, codes = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint8)
    up, position = np.asarray(parent, np.int64), offsets[1:] - 1
    current_node, open_words = np.arange(words), np.flatnonzero(depth[:words] > 0)
    code_of = np.asarray(code, np.uint8)
    while len(open_words):  # one level of all paths at a time, from the leaves up
        current = current_node[open_words]
        nodes[position[open_words]] = up[current] - words
        codes[position[open_words]] = code_of[current]
        current_node[open_words] = up[current]
        position[open_words] -= 1
        open_words = open_words[up[current] != 2 * words - 2]
    return Tree(nodes, codes, offsets)


def _parents(counts: list[int]) -> tuple[list[int], list[int]]:
    """For each of the 2V - 1 nodes (words, then inner nodes in the order of creation) its parent and its code.

    The two lightest nodes are joined repeatedly. Counts descend and the weights of inner nodes ascend, so that two
    pointers replace a priority queue.
    """
    words = len(counts)
    weight = counts + [0] * (words - 1)
    parent, code = [0] * (2 * words - 1), [0] * (2 * words - 1)
    leaf, inner = words - 1, words
    for node in range(words, 2 * words - 1):
        for side in (0, 1):
            if leaf >= 0 and (inner >= node or weight[leaf] <= weight[inner]):
                lightest, leaf = leaf, leaf - 1
            else:
                lightest, inner = inner, inner + 1
            parent[lightest], code[lightest] = node, side
            weight[node] += weight[lightest]
    return parent, code
