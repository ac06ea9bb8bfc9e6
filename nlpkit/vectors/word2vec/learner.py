"""The matrices of a word2vec run, and threads that train them round by round (`nlpkit.vectors.word2vec.word2vec`).

Shapes: V words, R outputs, X rows of inputs (V, or more with n-grams), D width, W the width in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.seeds import Address
from nlpkit.machine.kernel import LANES, WIDE
from nlpkit.vectors.base import MIN_LR, Corpus, Settings, Weights, keep_probability, noise_distribution
from nlpkit.vectors.text.subwords import Grams
from nlpkit.vectors.word2vec import huffman
from nlpkit.vectors.word2vec.rounds import (
    GROUP,
    KERNELS,
    POOL,
    SLOTS,
    TOP,
    UNIT,
    UNITS,
    Matrix,
    Plan,
    Scratch,
    Units,
    system,
    team_state,
)

WORDS_A_ROUND = UNIT * UNITS
_LINE = 64  # bytes of a cache line; a vector of eight floats never crosses one when rows are aligned to it
_ROWS = 1 << 12  # rows initialised together
_PAGE = 1 << 21  # bytes of a huge page
_LOW = (1 << 64) - 1


class Learner:
    """Trains word vectors. Only ``x`` [X, W] and ``y`` [R, W] change; columns from D on are padding, except the column
    of the bias."""

    def __init__(
        self,
        corpus: Corpus,
        counts: NDArray[np.int64],
        settings: Settings,
        seed: Address,
        threads: int,
        grams: Grams | None = None,
        tree: huffman.Tree | None = None,
    ) -> None:
        """``tree``: the Huffman tree of the counts; None: loss hs builds it."""
        self.settings, self.seed, self.corpus, self.words = settings, seed, corpus, corpus.words
        self.noise = noise_distribution(counts, settings.noise_exponent)
        self.grams = grams
        vocab_size, dim = len(counts), settings.dim
        self.biased = settings.loss == "nce"
        self.width = -(-(dim + self.biased) // WIDE) * WIDE
        self.threads = min(threads, UNITS)
        self.plan = self._plan(corpus, counts, tree)
        inputs, span = vocab_size + (grams.buckets if grams else 0), UNIT + 2 * settings.window
        longest = int(np.diff(self.plan.paths).max()) if self.plan.tree else 1 + settings.negative
        outputs = min(self.plan.roots, TOP + UNIT * longest) if self.plan.tree else UNIT + POOL
        self._x = _matrix(inputs, self.width, min(span, vocab_size))
        self._y = _matrix(self.plan.roots, self.width, outputs)
        self.x = self._x.floats[: self._x.copies].reshape(inputs, self.width)
        self.y = self._y.floats[: self._y.copies].reshape(-1, self.width)
        rng = seed.at("vectors").generator()
        for start in range(0, inputs, _ROWS):
            rows = self.x[start : start + _ROWS, :dim]
            rows[:] = (rng.random(rows.shape, np.float32) - np.float32(0.5)) / np.float32(dim)
        if self.biased:
            self.x[:, dim] = 1
            self.y[:, dim] = np.log(counts / counts.sum()) - self._noise_scores()
        self._units = _units(self.width, span, longest, means=grams is not None)
        self._scratch = [_scratch(self.width, span, longest, settings.window) for _ in range(self.threads)]
        self._uses = np.zeros(inputs if grams else 0, np.int64)

    @property
    def rounds(self) -> int:
        """Rounds of an epoch."""
        return -(-self.words // WORDS_A_ROUND)

    def train(self, epoch: int, first: int, last: int, pool: ThreadPoolExecutor) -> None:
        """Train on the rounds ``first`` (from 0) to ``last`` (exclusive) of an epoch (from 1)."""
        key = np.uint64(self.seed.at("epoch", epoch).key() & _LOW)
        min_lr = min(MIN_LR, self.settings.lr)
        rates = self.settings.lr, min_lr, float((epoch - 1) * self.words), float(self.settings.epochs * self.words)
        team, calls = team_state(), system()

        def work(thread: int) -> None:
            KERNELS.train_rounds(
                self.plan,
                self._units,
                self._scratch[thread],
                self._x,
                self._y,
                self._uses,
                key,
                rates,
                first,
                last,
                thread,
                self.threads,
                team,
                calls,
            )

        others = [pool.submit(work, thread) for thread in range(1, self.threads)]
        work(0)
        for other in others:
            other.result()
        self.corpus.forget()

    def weights(self) -> Weights:
        """The current weights."""
        dim = self.settings.dim
        vectors, ngrams = self.x[:, :dim], None
        if self.grams:
            vectors, ngrams = self.grams.means(vectors), vectors
        bias = (self.y[:, dim] + self._noise_scores()).astype(np.float32) if self.biased else None
        return Weights(vectors, self.y[:, :dim], bias=bias, ngrams=ngrams)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The state from which training resumes."""
        columns = self.settings.dim + self.biased
        return {"x": self.x[:, :columns], "y": self.y[:, :columns]}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array in state.items():
            getattr(self, name)[:, : array.shape[1]] = array

    def _noise_scores(self) -> NDArray[np.float64]:
        """log(k P(w)): the trained bias of an output is the difference from it, so that noise-contrastive estimation is
        negative sampling with one more column (Gutmann and Hyvarinen 2010; Mnih and Teh 2012, equation 8)."""
        return np.asarray(np.log(self.settings.negative * self.noise))

    def _plan(self, corpus: Corpus, counts: NDArray[np.int64], tree: huffman.Tree | None) -> Plan:
        settings = self.settings
        labels = np.zeros(settings.negative + WIDE, np.float32)
        labels[0] = 1
        nodes, paths = np.zeros(1, np.int32), np.zeros(1, np.int64)
        if settings.loss == "hs":
            tree = tree or huffman.tree(counts)
            nodes, paths = tree.nodes, tree.offsets.astype(np.int64)
            labels = np.append(1 - tree.codes.astype(np.float32), np.zeros(LANES, np.float32))
        mask = aligned(1, self.width)[0]
        mask[: settings.dim] = 1
        none = np.zeros(0, np.int64)
        return Plan(
            ids=_read_only(corpus.ids, np.int32),
            offsets=_read_only(corpus.offsets, np.int64),
            window=settings.window,
            keep=_bits(keep_probability(counts, settings.sample)),
            negative=settings.negative,
            alias=alias_table(self.noise) if settings.loss != "hs" else np.zeros(2, np.uint32),
            nodes=nodes,
            labels=labels,
            paths=paths,
            roots=settings.output_rows(len(counts)),
            grams=self.grams.rows if self.grams else none,
            gram_ends=self.grams.ends if self.grams else none,
            cbow=settings.method == "cbow",
            tree=settings.loss == "hs",
            mean=settings.average,
            divide=settings.divide,
            bias=settings.dim if self.biased else -1,
            mask=mask,
            width=self.width,
        )


def aligned(rows: int, width: int) -> NDArray[np.float32]:
    """Zeros [rows, width], aligned to a cache line."""
    size = rows * width * 4
    raw = np.zeros(size + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size].view(np.float32).reshape(rows, width)


def _large(rows: int, more: int, width: int) -> NDArray[np.float32]:
    """Zeros [rows + more, width], the first ``rows`` in huge pages where the system has them: the rows that a kernel
    reads are scattered over pages, and address translation (TLB misses) takes time."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned(rows + more, width)
    size = (rows + more) * width * 4
    raw = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(raw, np.uint8)
    start = -array.ctypes.data % _PAGE
    if pages := rows * width * 4 // _PAGE:
        raw.madvise(mmap.MADV_HUGEPAGE, start, pages * _PAGE)
    return array[start : start + size].view(np.float32).reshape(rows + more, width)


def _read_only(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The same array type for mapped files and memory, as a kernel is compiled for each type."""
    frozen = np.ascontiguousarray(array, dtype).view(np.ndarray)
    frozen.flags.writeable = False
    return frozen


def _bits(probability: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The largest 32-bit random integer at which an event of a probability happens."""
    return np.minimum(probability * 2**32, 2**32 - 1).astype(np.uint32)


def alias_table(probability: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Walker's alias table (1977), [2 N]: for each outcome the threshold below which it is kept, and its alias."""
    scaled = probability * len(probability)
    other = np.arange(len(scaled))
    KERNELS.fill(scaled, other, np.empty_like(other), np.empty_like(other))
    table = np.empty(2 * len(scaled), np.uint32)
    table[0::2], table[1::2] = _bits(scaled), other
    return table


def _matrix(rows: int, width: int, capacity: int) -> Matrix:
    """A matrix of zeros, of which a unit uses at most ``capacity`` rows."""

    def numbers() -> NDArray[np.int64]:
        return np.zeros((SLOTS, capacity), np.int64)

    users = np.zeros(2 * rows, np.int64)
    return Matrix(
        floats=_large(rows, UNITS * capacity, width).reshape(-1),
        copies=rows * width,
        local=users.view(np.uint16),
        users=users,
        rows=numbers(),
        uses=numbers(),
        at=numbers(),
        shared=numbers(),
        sharers=numbers(),
        sizes=np.zeros((SLOTS, 2), np.int64),
    )


def _units(width: int, span: int, longest: int, *, means: bool) -> Units:
    def numbers(count: int) -> NDArray[np.int64]:
        return np.zeros((SLOTS, count), np.int64)

    return Units(
        sampled=numbers(span),
        inputs_of=numbers(span),
        starts=numbers(span),
        ends=numbers(span),
        reach=numbers(span),
        picks=numbers(POOL + span),
        outputs=numbers(max(UNIT, GROUP) * (longest + LANES) + LANES),
        spans=numbers(4),
        before=aligned(UNITS, span * width if means else 0),
    )


def _scratch(width: int, span: int, longest: int, window: int) -> Scratch:
    max_inputs, scores = 2 * window * GROUP, -(-(longest + LANES) // LANES) * LANES
    return Scratch(
        inputs=np.zeros(max_inputs + 2 * window, np.int64),
        windows=np.zeros((GROUP, 4), np.int64),
        label_starts=np.zeros(GROUP, np.int64),
        path_starts=np.zeros(span, np.int64),
        scores=aligned(max_inputs, scores).reshape(-1),
        hidden=aligned(GROUP, width).reshape(-1),
        error=aligned(GROUP, width).reshape(-1),
        holders=np.zeros(UNITS, np.int64),
    )
