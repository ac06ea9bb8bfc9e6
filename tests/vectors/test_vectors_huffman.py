"""The tree of hierarchical softmax."""

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpkit.vectors.word2vec.huffman import tree

counts_falling = st.lists(st.integers(1, 50), min_size=2, max_size=60).map(
    lambda found: np.array(sorted(found, reverse=True), np.int64)
)


def least_cost(counts):
    """What Huffman 1952 proves to be the least total length: the sum of all joined weights."""
    heap = counts.tolist()
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@given(counts_falling)
def test_the_tree_is_a_shortest_prefix_code(counts):
    made = tree(counts)
    lengths = np.diff(made.offsets)
    assert int(lengths @ counts) == least_cost(counts)
    codes = {tuple(made.path(word)[1].tolist()) for word in range(len(counts))}
    assert len(codes) == len(counts)
    assert sum(2.0 ** -len(code) for code in codes) == 1  # Kraft: every path ends in a word
    assert all(code[:cut] not in codes for code in codes for cut in range(len(code)))


@given(counts_falling, st.integers(0, 1000))
def test_the_words_probabilities_sum_to_one(counts, seed):
    made = tree(counts)
    scores = np.random.default_rng(seed).normal(size=len(counts) - 1)  # node . h
    total = 0.0
    for word in range(len(counts)):
        nodes, codes = made.path(word)
        assert nodes[0] == len(counts) - 2  # the root
        total += np.prod(1 / (1 + np.exp(-np.where(codes == 0, scores[nodes], -scores[nodes]))))
    assert total == pytest.approx(1, abs=1e-9)


def test_code_lengths_under_zipf():
    """Below log2 V, as measured before this was written (9.56 bits for ten thousand words)."""
    counts = (1e9 / np.arange(1, 10_001)).astype(np.int64)
    lengths = np.diff(tree(counts).offsets)
    assert lengths @ counts / counts.sum() == pytest.approx(9.56, abs=0.01)
