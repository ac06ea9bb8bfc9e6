"""Co-occurrence counts of a corpus of any size in bounded memory.

The corpus is read in blocks of tokens. The table of a block is written to disk row by row, columns ascending; the rows
of several blocks are then added up, again row by row. Counts are integers: 1/d (Pennington et al. 2014, section 4.2)
times the least common multiple of all distances. So sums are exact, and the result depends neither on the blocks nor on
the number of threads.

Shapes: V words, N cells, K blocks.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.machine.kernel import Ints, Longs
from nlpkit.machine.native import Kernels
from nlpkit.vectors.base import Corpus

_TOKEN_BYTES = 16  # per token of a block: the word, its entry in the order by words, and its part of the borders
_CELL_BYTES = 24  # column and sum, of the input and of the output
_MAX_CELLS = 1 << 20  # of the rows that a thread computes as one chunk
_MIN_TOKENS, _MAX_TOKENS = 1 << 10, 1 << 29  # of a block; token positions in it, borders included, are int32
_LARGEST = 2**63 - 1

KERNELS = Kernels("nlpkit.vectors.glove.cooccurrence_kernels")

T = TypeVar("T")
R = TypeVar("R")
Part = tuple[Ints, Longs, Longs]  # some rows: the columns and sums of their cells, and the number of cells of each


@dataclass(frozen=True)
class Cells:
    """The upper triangle of the table with its diagonal, memory-mapped: the cells of row i begin at ``offsets[i]``.

    ``offsets`` [V + 1] int64; ``columns`` [N] uint16 (uint32 above 65,536 words), ascending in each row; ``values`` [N]
    float32.
    """

    offsets: Longs
    columns: NDArray[Any]
    values: NDArray[np.float32]


def distance_weights(window: int, occurrences: int) -> tuple[Longs, int]:
    """The integer weight of a neighbour at distance d, [window + 1], and the integer that stands for a weight of 1.

    Errors: a UserError with the largest window, when the sums of a word with ``occurrences`` may exceed 64 bits.
    """
    if window > (cap := _largest_window(occurrences)):
        whose = f"of a word that occurs {occurrences:,} times " if occurrences > 1 else ""
        raise UserError(
            f"window is {window}; counts {whose}are exact in 64 bits up to a window of {cap}", hint=f"--window {cap}"
        )
    one = math.lcm(*range(1, window + 1))
    return np.array([0, *(one // distance for distance in range(1, window + 1))], np.int64), one


def _largest_window(occurrences: int) -> int:
    """The widest window whose sums fit 64 bits: each occurrence has two neighbours at each distance."""
    window, one = 1, 1
    while True:
        following = math.lcm(one, window + 1)
        if 2 * occurrences * sum(following // distance for distance in range(1, window + 2)) > _LARGEST:
            return window
        window, one = window + 1, following


def count_pairs(corpus: Corpus, counts: Longs, window: int, *, target: Path, memory_bytes: int, threads: int) -> Cells:
    """The table of a corpus whose word i occurs ``counts[i]`` times, written to unnamed temporary files beside
    ``target``.

    ``memory_bytes`` bounds blocks of text and cells; arrays of the vocabulary's size come on top. It changes the number
    of blocks and no count. Errors: those of `nlpkit.artifact.atomic.cannot_write`, with the target's name.
    """
    weights, one = distance_weights(window, int(counts.max(initial=1)))
    block = min(_MAX_TOKENS, max(_MIN_TOKENS, memory_bytes // 2 // _TOKEN_BYTES))
    max_cells = max(1, min(_MAX_CELLS, memory_bytes // 2 // (_CELL_BYTES * (threads + 2))))
    starts = range(0, corpus.words, block)
    try:
        with ThreadPoolExecutor(threads) as pool, _Store(target, len(counts), one) as result:
            if len(starts) <= 1:
                for start in starts:
                    for part in _block_table(
                        pool, corpus, start, start + block, weights, len(counts), max_cells, threads
                    ):
                        result.add(part)
                return result.cells()
            with _Store(target, len(counts), None) as blocks:
                for start in starts:
                    for part in _block_table(
                        pool, corpus, start, start + block, weights, len(counts), max_cells, threads
                    ):
                        blocks.add(part)
                for part in _merge_blocks(pool, blocks, len(counts), max_cells, threads):
                    result.add(part)
            return result.cells()
    except OSError as error:
        raise atomic.cannot_write(error, target) from None


def _block_table(
    pool: ThreadPoolExecutor,
    corpus: Corpus,
    start: int,
    end: int,
    weights: Longs,
    vocab_size: int,
    max_cells: int,
    threads: int,
) -> Iterator[Part]:
    """The co-occurrences of the tokens start..end, some rows at a time."""
    end = min(end, corpus.words)
    text, first, last = _bordered(corpus, start, end, len(weights) - 1)
    starts, free = np.empty(vocab_size + 1, np.int64), np.empty(vocab_size, np.int64)
    order = np.empty(last - first, np.int32)
    order = order[: KERNELS.by_word(text, first, last, starts, free, order)]
    occurrences = np.diff(starts)
    # A row has at most as many cells as its word has neighbours, and as there are columns from the diagonal on.
    bound = np.minimum(occurrences * 2 * (len(weights) - 1), vocab_size - np.arange(vocab_size))

    def rows(row_range: tuple[int, int]) -> Part:
        columns, values = _empty(int(bound[row_range[0] : row_range[1]].sum()))
        sizes = np.empty(row_range[1] - row_range[0], np.int64)
        cells = KERNELS.gather(text, order, starts, *row_range, weights, columns, values, sizes, *_dense(vocab_size))
        return columns[:cells], values[:cells], sizes

    done = start
    chunks = _chunks(bound, max_cells)
    for (begin, stop), part in zip(chunks, _in_order(pool, rows, chunks, threads + 1), strict=True):
        done += int(occurrences[begin:stop].sum())
        events.emit("progress", label="pairs", done=done, total=corpus.words, unit="words")
        yield part


def _bordered(corpus: Corpus, start: int, end: int, window: int) -> tuple[Ints, int, int]:
    """The tokens start..end with a window on both sides, -1 between sentences and at both ends; the positions in it
    where start..end begin and end."""
    low, high = max(0, start - window), min(corpus.words, end + window)
    inside = corpus.offsets[np.searchsorted(corpus.offsets, low, "right") : np.searchsorted(corpus.offsets, high)] - low
    borders = np.concatenate([[0], inside, [high - low]])
    text = np.insert(corpus.ids[low:high], borders, -1)
    first, last = start - low, end - low
    return text, first + int(np.searchsorted(borders, first, "right")), last + int(np.searchsorted(borders, last))


def _merge_blocks(
    pool: ThreadPoolExecutor, blocks: _Store, vocab_size: int, max_cells: int, threads: int
) -> Iterator[Part]:
    """The sums of all blocks' rows, some rows at a time."""
    for file in blocks.files:
        file.flush()
    sizes = blocks.sizes()
    begins = np.concatenate([[0], np.cumsum(sizes.sum(1))])[:-1]
    bound = sizes.sum(0)
    chunks = _chunks(bound, max_cells)

    def rows(request: tuple[int, int, Longs]) -> Part:
        begin, stop, chunk_begins = request
        chunk_sizes = sizes[:, begin:stop]
        block_sizes = chunk_sizes.sum(1)
        pieces = list(zip(chunk_begins.tolist(), block_sizes.tolist(), strict=True))
        offsets = np.zeros((len(chunk_sizes), stop - begin + 1), np.int64)
        np.cumsum(chunk_sizes, axis=1, out=offsets[:, 1:])
        offsets += (np.cumsum(block_sizes) - block_sizes)[:, None]
        out_columns, out_values = _empty(int(block_sizes.sum()))
        in_arrays = [np.concatenate([blocks.read(part, *piece) for piece in pieces]) for part in (0, 1)]
        row_sizes = np.empty(stop - begin, np.int64)
        cells = KERNELS.merge(offsets, *in_arrays, out_columns, out_values, row_sizes, *_dense(vocab_size))
        return out_columns[:cells], out_values[:cells], row_sizes

    def requests() -> Iterator[tuple[int, int, Longs]]:
        chunk_begins = begins
        for begin, stop in chunks:
            yield begin, stop, chunk_begins
            chunk_begins = chunk_begins + sizes[:, begin:stop].sum(1)

    for (_, stop), part in zip(chunks, _in_order(pool, rows, requests(), threads + 1), strict=True):
        events.emit("progress", label="adding up", done=stop, total=vocab_size, unit="rows")
        yield part


class _Store:
    """Cells in unnamed temporary files beside the target: integer sums of blocks (``one`` is None), or the float32
    values of the result, sums divided by ``one``."""

    def __init__(self, target: Path, vocab_size: int, one: int | None) -> None:
        self.vocab_size, self.one = vocab_size, one
        self.files: list[Any] = [tempfile.TemporaryFile(dir=target.parent) for _ in range(3)]  # noqa: SIM115
        narrow = np.uint16 if vocab_size <= 1 << 16 else np.uint32
        self.types = (np.int32, np.int64) if one is None else (narrow, np.float32)

    def __enter__(self) -> _Store:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()  # an array mapped from it keeps its bytes

    def add(self, part: Part) -> None:
        columns, values, sizes = part
        stored = values if self.one is None else values / self.one
        self.files[0].write(columns.astype(self.types[0], copy=False).data)
        self.files[1].write(stored.astype(self.types[1], copy=False).data)
        self.files[2].write(sizes.data)

    def sizes(self) -> Longs:
        """The number of cells of each row in each block, [K, V]."""
        return _mapped(self.files[2], np.int64).reshape(-1, self.vocab_size)

    def read(self, part: int, begin: int, size: int) -> NDArray[Any]:
        """Some of the columns (0) or values (1); read and not mapped, so that their pages do not stay in memory."""
        dtype = np.dtype(self.types[part])
        raw = os.pread(self.files[part].fileno(), size * dtype.itemsize, begin * dtype.itemsize)
        return np.frombuffer(raw, dtype)

    def cells(self) -> Cells:
        offsets = np.zeros(self.vocab_size + 1, np.int64)
        np.cumsum(self.sizes().sum(0), out=offsets[1:])
        return Cells(offsets, *(_mapped(self.files[part], self.types[part]) for part in (0, 1)))


def _mapped(file: Any, dtype: Any) -> NDArray[Any]:
    file.flush()
    array: NDArray[Any] = np.memmap(file, dtype, "r") if file.seek(0, 2) else np.zeros(0, dtype)
    return array


def _empty(cells: int) -> tuple[Ints, Longs]:
    return np.empty(cells, np.int32), np.empty(cells, np.int64)


def _dense(vocab_size: int) -> tuple[NDArray[Any], ...]:
    """The workspace in which a thread gathers a row: sums, touched columns, a bit per column and per 64 columns."""
    return (
        np.zeros(vocab_size, np.int64),
        np.empty(vocab_size + 1, np.int32),
        np.zeros(vocab_size // 64 + 1, np.uint64),
        np.zeros(vocab_size // 4096 + 1, np.uint64),
    )


def _chunks(bound: Longs, max_cells: int) -> list[tuple[int, int]]:
    """Ranges of rows with at most ``max_cells`` cells, or of one row."""
    pieces, begin, total = [], 0, 0
    for row, cells in enumerate(bound.tolist()):
        if row > begin and total + cells > max_cells:
            pieces.append((begin, row))
            begin, total = row, 0
        total += cells
    return [*pieces, (begin, len(bound))]


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T] | Sequence[T], ahead: int
) -> Iterator[R]:
    """``function`` of each item, in order; at most ``ahead`` results are computed and not yet consumed."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
