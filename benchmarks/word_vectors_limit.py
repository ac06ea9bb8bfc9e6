"""How near `nlpkit vectors train` comes to what one core can do: floating-point operations a second, and of the peak.

The peak is that of fused multiply-adds on registers alone, measured here. The work of training is counted from the
text: each pair of an input and an output costs three products of their width (the score, and both gradients), two
operations a number. What training does besides (drawing, fetching and merging rows, sigmoids) counts as no work, so the
share says how much is left. Text is drawn by Zipf's law, no words are thinned out; both are measured in turn.

    python benchmarks/word_vectors_limit.py [--runs 5] [--words 400000] [--vocab-size 60000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nlpkit.base.seeds import Address
from nlpkit.machine.kernel import Floats, kernel
from nlpkit.machine.native import Kernels
from nlpkit.machine.simd import LANES, add, fma, load, store
from nlpkit.vectors.base import Corpus, Settings
from nlpkit.vectors.word2vec import huffman
from nlpkit.vectors.word2vec.learner import Learner

SENTENCE, WINDOW, NEGATIVE = 20, 5, 5


@kernel
def multiply_add(times: int, a: Floats) -> int:
    """Ten chains of fused multiply-adds, which no processor finishes faster than it can start them."""
    x, y = load(a, 0), load(a, LANES)
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = c8 = c9 = load(a, 2 * LANES)
    for _ in range(times):
        c0, c1, c2, c3, c4 = fma(x, y, c0), fma(x, y, c1), fma(x, y, c2), fma(x, y, c3), fma(x, y, c4)
        c5, c6, c7, c8, c9 = fma(x, y, c5), fma(x, y, c6), fma(x, y, c7), fma(x, y, c8), fma(x, y, c9)
    first, second = add(add(c0, c1), add(c2, c3)), add(add(c4, c5), add(c6, c7))
    store(a, 0, add(add(first, second), add(c8, c9)))
    return 0


def peak() -> float:
    """Operations a second."""
    times, a = 5_000_000, np.zeros(3 * LANES, np.float32)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where the compiler finds this file
    run = Kernels(Path(__file__).stem).multiply_add
    start = time.process_time()
    run(times, a)
    return times * 10 * LANES * 2 / (time.process_time() - start)


def pairs_a_word() -> float:
    """Words in a window, on average over the places of a sentence and the reach that is drawn."""
    place = np.arange(SENTENCE)
    reach = np.arange(1, WINDOW + 1)[:, None]
    return float((np.minimum(place, reach) + np.minimum(SENTENCE - 1 - place, reach)).mean())


def train(corpus: Corpus, counts: np.ndarray, method: str, loss: str, dim: int) -> float:
    """Operations a second of one epoch."""
    settings = Settings(method, loss, dim=dim, window=WINDOW, negative=NEGATIVE, sample=0.0, epochs=1)
    learner = Learner(corpus, counts, settings, Address(0, ("limit",)), 1)
    outputs = 1.0 + NEGATIVE
    if loss == "hs":
        outputs = float((np.diff(huffman.tree(counts).offsets) * counts).sum() / counts.sum())
    inputs = pairs_a_word() if method == "skipgram" else 1.0
    with ThreadPoolExecutor(1) as pool:
        start = time.process_time()
        learner.train(1, 0, learner.rounds, pool)
        seconds = time.process_time() - start
    return corpus.words * inputs * outputs * 3 * 2 * dim / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--words", type=int, default=400_000)
    parser.add_argument("--vocab-size", type=int, default=60_000)
    given = parser.parse_args()
    chance = 1 / np.arange(1, given.vocab_size + 1)
    drawn = np.random.default_rng(0).choice(given.vocab_size, given.words, p=chance / chance.sum())
    ids = np.concatenate([np.arange(given.vocab_size), drawn]).astype(np.int32)
    counts = np.bincount(ids)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(given.vocab_size, np.int32)
    rank[order] = np.arange(given.vocab_size)
    ids = rank[np.random.default_rng(1).permutation(ids)][: len(ids) // SENTENCE * SENTENCE]
    corpus = Corpus(ids, np.arange(0, len(ids) + 1, SENTENCE))
    peak(), train(corpus, counts[order], "skipgram", "ns", 100)  # compiles
    for dim in (100, 300):
        for method in ("skipgram", "cbow"):
            for loss in ("ns", "hs"):
                shares, rates = [], []
                for _ in range(given.runs):
                    most = peak()
                    rates.append(train(corpus, counts[order], method, loss, dim))
                    shares.append(rates[-1] / most)
                low, middle, high = min(shares), statistics.median(shares), max(shares)
                print(
                    f"{method} {loss} {dim}: {statistics.median(rates) / 1e9:.0f} GFLOP/s, "
                    f"{middle:.0%} [{low:.0%} .. {high:.0%}] of the peak",
                    flush=True,
                )


if __name__ == "__main__":
    main()
