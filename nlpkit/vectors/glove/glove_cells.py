"""The cells of a table of counts, sorted into blocks that threads can train on at the same time.

Rows and columns are cut in `STRIPES` stripes: word i is in stripe i % STRIPES, so that frequent words are spread
evenly. A block is the cells of one stripe of words and one of contexts. As the table is symmetric, a block and its
mirror image across the diagonal are stored once. Within a block the cells are in an order drawn from the seed.

The logarithms and weights of all cells are computed here, by additions, multiplications and divisions only: library
functions differ in their last bit from one CPU to another.

Shapes: V words, N cells.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.vectors.glove import cooccurrence_count

STRIPES = 32
# A cell as the kernel reads it: the rows of its word and of its context, log x, f(x).
CELL = np.dtype([("word", "<u4"), ("context", "<u4"), ("log", "<f4"), ("weight", "<f4")])
_CHUNK = 1 << 17  # cells sorted together, few enough for the cache

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """``cells`` [N] of `CELL`, memory-mapped, block after block; ``begins`` [STRIPES ** 2 + 1]; ``row_of_word`` [V]:
    the row of each word in matrices in which the words of a stripe are consecutive."""

    cells: NDArray[Any]
    begins: NDArray[np.int64]
    row_of_word: NDArray[np.int64]

    def block(self, words: int, contexts: int) -> NDArray[Any]:
        """The cells of two stripes, ``words`` <= ``contexts``; those of a diagonal block are stored in both
        directions."""
        number = words * STRIPES + contexts
        return self.cells[self.begins[number] : self.begins[number + 1]]

    @property
    def visits(self) -> int:
        """Steps of an epoch: every cell in both directions, those with two equal words once."""
        diagonal = np.arange(STRIPES) * (STRIPES + 1)
        return 2 * len(self.cells) - int((self.begins[diagonal + 1] - self.begins[diagonal]).sum())


def sort_in_blocks(
    table: cooccurrence_count.Cells, *, x_max: float, alpha: float, seed: Address, where: Path, target: Path
) -> Blocks:
    """Sort the cells of a table into blocks, in an unnamed temporary file beside ``target``.

    Errors: impossible columns and values are a UserError at ``where``; those of
    `nlpkit.artifact.atomic.cannot_write`, with the target's name.
    """
    vocab_size = len(table.offsets) - 1
    sizes = np.zeros(STRIPES**2, np.int64)
    for first, second, values in _pieces(table):
        if (second >= vocab_size).any() or (second < first).any() or not (np.isfinite(values) & (values > 0)).all():
            raise UserError("has cells with impossible columns or counts", where=where)
        sizes += np.bincount(_block(first, second), minlength=len(sizes))
        has_mirror = (first % STRIPES == second % STRIPES) & (first != second)
        sizes += np.bincount(_block(first[has_mirror], second[has_mirror]), minlength=len(sizes))
    begins = np.concatenate([[0], np.cumsum(sizes)])
    row_of_word = _rows_by_stripe(vocab_size)
    try:
        with tempfile.TemporaryFile(dir=target.parent, buffering=0) as scratch:
            _distribute(table, scratch.fileno(), begins[:-1].copy(), row_of_word, x_max, alpha)
            for number in np.flatnonzero(sizes).tolist():
                block = _read(scratch.fileno(), int(begins[number]), int(sizes[number]))
                order = seed.at(number).generator().permutation(len(block))
                _write(scratch.fileno(), int(begins[number]), block[order])
            cells = np.asarray(np.memmap(scratch, CELL, "r"))  # the map keeps its bytes when the file is closed
    except OSError as error:
        raise atomic.cannot_write(error, target) from None
    return Blocks(cells, begins, row_of_word)


def _rows_by_stripe(vocab_size: int) -> NDArray[np.int64]:
    """The row of each word, [V]: rows are sorted by stripe, and in a stripe by frequency."""
    order = np.concatenate([np.arange(stripe, vocab_size, STRIPES) for stripe in range(STRIPES)])
    rows = np.empty(vocab_size, np.int64)
    rows[order] = np.arange(vocab_size)
    return rows


def _pieces(table: cooccurrence_count.Cells) -> Iterator[tuple[Any, Any, Any]]:
    """Rows, columns and values of all cells, a chunk at a time."""
    for start in range(0, len(table.columns), _CHUNK):
        end = min(start + _CHUNK, len(table.columns))
        rows = np.searchsorted(table.offsets, np.arange(start, end), "right") - 1
        yield rows, table.columns[start:end].astype(np.int64), np.asarray(table.values[start:end])


def _block(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of each cell's block; the lower stripe is that of the words."""
    one, other = first % STRIPES, second % STRIPES
    return np.asarray(np.minimum(one, other) * STRIPES + np.maximum(one, other))


def _write(file: int, begin: int, cells: NDArray[Any]) -> None:
    """Write cells at an offset of the file, not through a map: a full disk raises an error here, and SIGBUS there."""
    rest, offset = memoryview(cells.view(np.uint8)), begin * CELL.itemsize
    while rest:
        done = os.pwrite(file, rest, offset)
        rest, offset = rest[done:], offset + done


def _read(file: int, begin: int, size: int) -> NDArray[Any]:
    return np.frombuffer(os.pread(file, size * CELL.itemsize, begin * CELL.itemsize), CELL)


def _distribute(
    table: cooccurrence_count.Cells,
    file: int,
    free: NDArray[np.int64],
    row_of_word: NDArray[np.int64],
    x_max: float,
    alpha: float,
) -> None:
    """Write each cell at the next free offset of its block."""
    done = 0
    for first, second, values in _pieces(table):
        done += len(values)
        # In a diagonal block the mirror image follows its cell, so that the chunks do not change the order.
        has_mirror = (first % STRIPES == second % STRIPES) & (first != second)
        source = np.repeat(np.arange(len(values)), 1 + has_mirror)
        mirrored = np.concatenate([[False], source[1:] == source[:-1]])
        first, second, counts = first[source], second[source], values[source]
        first, second = np.where(mirrored, second, first), np.where(mirrored, first, second)
        exchanged = first % STRIPES > second % STRIPES
        block = _block(first, second)
        order = np.argsort(block.astype(np.uint16), kind="stable")
        cells = np.empty(len(block), CELL)
        cells["word"] = row_of_word[np.where(exchanged, second, first)]
        cells["context"] = row_of_word[np.where(exchanged, first, second)]
        logs = log(counts.astype(np.float64))
        cells["log"], cells["weight"] = logs, weight(logs, x_max, alpha)
        cells = cells[order]
        sizes = np.bincount(block, minlength=len(free))
        begin = 0
        for number in np.flatnonzero(sizes).tolist():
            end = begin + int(sizes[number])
            _write(file, int(free[number]), cells[begin:end])
            begin = end
        free += sizes
        events.emit("progress", label="sorting", done=done, total=len(table.columns), unit="cells")


def weight(logs: Doubles, x_max: float, alpha: float) -> Doubles:
    """f(x) = (x / x_max)^alpha, at most 1 (Pennington et al. 2014, equation 9), from log x."""
    return _exp(alpha * np.minimum(logs - log(np.array([x_max])), 0.0))


def log(x: Doubles) -> Doubles:
    """The natural logarithm of positive numbers, to about the last digit.

    x = 2^n m with m between sqrt(1/2) and sqrt(2); log m = 2 artanh s with s = (m - 1) / (m + 1), by its series.
    """
    m, n = np.frexp(x)
    low = m < 0.7071067811865476
    m, n = np.where(low, 2 * m, m), n - low
    s = (m - 1) / (m + 1)
    square = s * s
    series = np.zeros_like(s)
    for power in range(23, 0, -2):
        series = series * square + 1 / power
    return np.asarray(n * 0.6931471805599453 + 2 * s * series)


def _exp(y: Doubles) -> Doubles:
    """e to the y for y <= 0; below -87, where float32 ends, that of -87. y = n ln 2 + r; e^r by its Taylor series."""
    y = np.maximum(y, -87.0)
    n = np.rint(y * 1.4426950408889634)
    r = y - n * 0.6931471805599453
    series = np.ones_like(r)
    for power in range(14, 0, -1):
        series = series * r / power + 1
    return np.ldexp(series, n.astype(np.int32))
