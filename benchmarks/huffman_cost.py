"""Does hierarchical softmax cost log V, negative sampling nothing of V, and a full softmax V?

    python benchmarks/huffman_cost.py                    # some minutes
    python benchmarks/huffman_cost.py --words 200000 --repeats 2 --sizes 1000 10000

Three things are printed.

    lengths   the mean code length of words that follow Zipf's law, with nlpkit's tree, for 1 k to 1 M words, beside
              log2 V, the length of a balanced tree, and the entropy, the least that any code can reach
    time      microseconds of processor time a word of `nlpkit vectors train` on one thread, skip-gram, for corpora of
              one length whose words are drawn by Zipf's law from V of them: hierarchical softmax, negative sampling,
              and one softmax over all words (numpy, batches of 64) for each prediction. Reading and counting are not
              in it: it is a run of several epochs less a run of one
    fits      R squared of a straight line: hs against log V, softmax against V; how much dearer a word gets from the
              smallest V to the largest. Medians of the repeats, each a corpus of its own, with intervals of 95 % that
              are bootstrapped over them

x is what a corpus has: the number of different words that were drawn, and the mean length of their codes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nlpkit
from nlpkit.measure import intervals
from nlpkit.vectors.word2vec import huffman

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
EPOCHS = 3  # less one
BATCH, STEPS = 64, 6  # of the full softmax
SENTENCE = 50


def zipf(words: int) -> np.ndarray:
    """The share of each rank, [V]."""
    share = 1 / np.arange(1, words + 1)
    return share / share.sum()


def mean_length(counts: np.ndarray) -> float:
    lengths = np.diff(huffman.tree(counts).offsets)
    return float(lengths @ counts / counts.sum())


def lengths() -> None:
    print(f"{'words':>9} {'mean code length':>17} {'log2 V':>7} {'entropy':>8}")
    for size in LENGTHS:
        share = zipf(size)
        counts = np.rint(share * 1e15).astype(np.int64)  # large enough that rounding is nothing
        entropy = -float(share @ np.log2(share))
        print(f"{size:>9,} {mean_length(counts):>17.2f} {np.log2(size):>7.2f} {entropy:>8.2f}")


def draw(words: int, size: int, seed: int, path: Path) -> np.ndarray:
    """Write a corpus of ``words`` words drawn from ``size`` of them; returns how often each came, falling."""
    ids = np.random.default_rng([seed, size]).choice(size, words, p=zipf(size))
    names = np.array([f"w{number}" for number in range(size)])[ids]
    lines = [" ".join(names[start : start + SENTENCE].tolist()) for start in range(0, words, SENTENCE)]
    path.write_text("\n".join(lines) + "\n")
    counts = np.bincount(ids)
    return np.sort(counts[counts > 0])[::-1]


def trained(corpus: Path, loss: str, dim: int, epochs: int) -> float:
    """Seconds of processor time of one run; every word is read, none is thinned out."""
    output = corpus.with_suffix(".safetensors")
    start = time.process_time()
    nlpkit.vectors_train(
        [corpus], output, loss=loss, dim=dim, epochs=epochs, min_count=1, sample=0.0, threads=1, force=True
    )
    return time.process_time() - start


def a_word(corpus: Path, loss: str, dim: int, words: int) -> float:
    """Microseconds of training a word."""
    return (trained(corpus, loss, dim, EPOCHS) - trained(corpus, loss, dim, 1)) / (EPOCHS - 1) / words * 1e6


def full_softmax(size: int, dim: int, window: int = 5) -> float:
    """Microseconds a word of gradient descent on -log softmax, with as many predictions a word as skip-gram has."""
    rng = np.random.default_rng(size)
    output = (rng.standard_normal((size, dim)) * 0.01).astype(np.float32)
    hidden = rng.standard_normal((BATCH, dim)).astype(np.float32)
    targets = rng.integers(size, size=BATCH)
    seconds = []
    for _ in range(STEPS):
        start = time.process_time()
        scores = hidden @ output.T
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(1, keepdims=True)
        scores[np.arange(BATCH), targets] -= 1
        hidden -= 0.025 * (scores @ output)
        output -= 0.025 / BATCH * (scores.T @ hidden)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds[1:])) / BATCH * (window + 1) * 1e6  # 2 x mean reach of 1..window


def r_squared(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def fits(drawn: np.ndarray, measured: dict[str, np.ndarray], seed: int) -> None:
    """Shapes: drawn [repeats, sizes], each of measured [repeats, sizes]."""

    def over_repeats(statistic: Callable[[np.ndarray, np.ndarray], float], name: str) -> str:
        found = intervals.bootstrap(
            lambda x, y: statistic(np.median(x, 0), np.median(y, 0)), drawn, measured[name], seed=seed
        )
        return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"

    hs = over_repeats(lambda x, y: r_squared(np.log(x), y), "hs")
    print(f"hs is linear in log V: R2 {hs}")
    print(f"softmax is linear in V: R2 {over_repeats(r_squared, 'softmax')}")
    for name in measured:
        grown = over_repeats(lambda x, y: float(y[-1] / y[0]), name)
        power = over_repeats(lambda x, y: float(np.polyfit(np.log(x), np.log(y), 1)[0]), name)
        print(f"{name:<8} largest V by smallest: {grown:<26} as V to the power {power}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="words to draw from")
    parser.add_argument("--words", type=int, default=1_000_000, help="words of each corpus (default: 1,000,000)")
    parser.add_argument("--repeats", type=int, default=5, help="corpora of each size (default: 5)")
    parser.add_argument("--dim", type=int, default=100, help="width of the vectors (default: 100)")
    arguments = parser.parse_args()
    lengths()
    sizes, repeats = arguments.sizes, arguments.repeats
    measured: dict[str, Any] = {name: np.zeros((repeats, len(sizes))) for name in ("hs", "ns", "softmax")}
    drawn, codes = np.zeros((repeats, len(sizes))), np.zeros((repeats, len(sizes)))
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus.txt"
        draw(20_000, sizes[0], 0, corpus)
        for loss in ("hs", "ns"):  # compiles what has to be compiled
            trained(corpus, loss, arguments.dim, 1)
        for repeat in range(repeats):
            for place, size in enumerate(sizes):
                counts = draw(arguments.words, size, repeat, corpus)
                drawn[repeat, place], codes[repeat, place] = len(counts), mean_length(counts)
                for loss in ("hs", "ns"):
                    measured[loss][repeat, place] = a_word(corpus, loss, arguments.dim, arguments.words)
                measured["softmax"][repeat, place] = full_softmax(size, arguments.dim)
    print(f"\nmicroseconds a word, median of {repeats} corpora of {arguments.words:,} words, width {arguments.dim}")
    print(f"{'words':>9} {'code length':>12} {'hs':>8} {'ns':>8} {'softmax':>10}")
    for place in range(len(sizes)):
        row = [np.median(measured[name][:, place]) for name in measured]
        print(
            f"{drawn[:, place].mean():>9,.0f} {codes[:, place].mean():>12.2f} {row[0]:>8.2f} {row[1]:>8.2f} "
            f"{row[2]:>10.0f}"
        )
    print()
    fits(drawn, measured, 0)


if __name__ == "__main__":
    main()
