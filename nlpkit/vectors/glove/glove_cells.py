"""The cells of a table of counts, sorted into blocks that threads can learn from at the same time.

Rows and columns are cut in `STRIPES` stripes: word i is in stripe i % STRIPES, so that each has its share of the
frequent ones. A block is the cells of one stripe of words and one of contexts. As the table is symmetric, the cells of
a block and of the one on the other side of the diagonal are kept once. Within a block they lie in an order drawn from
the seed.

The logarithms and weights of all cells are computed here, by additions, multiplications and divisions only: libraries'
functions differ in their last bit from one processor to the other.

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
# What the kernel reads of a cell: the rows of its word and of its context, log x, f(x).
CELL = np.dtype([("word", "<u4"), ("context", "<u4"), ("log", "<f4"), ("weight", "<f4")])
_AT_ONCE = 1 << 17  # cells sorted together, few enough for a cache

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """``cells`` [N] of `CELL`, memory-mapped, block after block; ``begins`` [STRIPES ** 2 + 1]; ``places`` [V], the row
    of each word in matrices where the words of a stripe stand together."""

    cells: NDArray[Any]
    begins: NDArray[np.int64]
    places: NDArray[np.int64]

    def block(self, words: int, contexts: int) -> NDArray[Any]:
        """The cells of two stripes, ``words`` <= ``contexts``; those on the diagonal are there both ways."""
        number = words * STRIPES + contexts
        return self.cells[self.begins[number] : self.begins[number + 1]]

    @property
    def visits(self) -> int:
        """Steps of one epoch: every cell from both sides, those with two equal words once."""
        own = np.arange(STRIPES) * (STRIPES + 1)
        return 2 * len(self.cells) - int((self.begins[own + 1] - self.begins[own]).sum())


def sort_in_blocks(
    table: cooccurrence_count.Cells, *, x_max: float, alpha: float, seed: Address, where: Path, target: Path
) -> Blocks:
    """Put the cells of a table in blocks, in a nameless file beside ``target``.

    Errors: columns and values that no table has are a UserError at ``where``; those of
    `nlpkit.artifact.atomic.cannot_write`, with the target's name.
    """
    vocab_size = len(table.offsets) - 1
    sizes = np.zeros(STRIPES**2, np.int64)
    for first, second, values in _pieces(table):
        if (second >= vocab_size).any() or (second < first).any() or not (np.isfinite(values) & (values > 0)).all():
            raise UserError("has cells that no table of counts has", where=where)
        sizes += np.bincount(_block(first, second), minlength=len(sizes))
        both = (first % STRIPES == second % STRIPES) & (first != second)
        sizes += np.bincount(_block(first[both], second[both]), minlength=len(sizes))
    begins = np.concatenate([[0], np.cumsum(sizes)])
    places = _places(vocab_size)
    try:
        with tempfile.TemporaryFile(dir=target.parent, buffering=0) as room:
            _distribute(table, room.fileno(), begins[:-1].copy(), places, x_max, alpha)
            for number in np.flatnonzero(sizes).tolist():
                block = _read(room.fileno(), int(begins[number]), int(sizes[number]))
                order = seed.at(number).generator().permutation(len(block))
                _write(room.fileno(), int(begins[number]), block[order])
            cells = np.asarray(np.memmap(room, CELL, "r"))  # keeps its bytes when the file is closed
    except OSError as error:
        raise atomic.cannot_write(error, target) from None
    return Blocks(cells, begins, places)


def _places(vocab_size: int) -> NDArray[np.int64]:
    """[V]: words by stripes, and in a stripe by frequency."""
    order = np.concatenate([np.arange(stripe, vocab_size, STRIPES) for stripe in range(STRIPES)])
    places = np.empty(vocab_size, np.int64)
    places[order] = np.arange(vocab_size)
    return places


def _pieces(table: cooccurrence_count.Cells) -> Iterator[tuple[Any, Any, Any]]:
    """Rows, columns and values of all cells, some at a time."""
    for start in range(0, len(table.columns), _AT_ONCE):
        end = min(start + _AT_ONCE, len(table.columns))
        rows = np.searchsorted(table.offsets, np.arange(start, end), "right") - 1
        yield rows, table.columns[start:end].astype(np.int64), np.asarray(table.values[start:end])


def _block(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each cell's block: the lower stripe counts as the words'."""
    one, other = first % STRIPES, second % STRIPES
    return np.asarray(np.minimum(one, other) * STRIPES + np.maximum(one, other))


def _write(room: int, begin: int, cells: NDArray[Any]) -> None:
    """Write cells at a place of the file: a full disk is an error here, and not a signal when a map is written to."""
    rest, offset = memoryview(cells.view(np.uint8)), begin * CELL.itemsize
    while rest:
        done = os.pwrite(room, rest, offset)
        rest, offset = rest[done:], offset + done


def _read(room: int, begin: int, size: int) -> NDArray[Any]:
    return np.frombuffer(os.pread(room, size * CELL.itemsize, begin * CELL.itemsize), CELL)


def _distribute(
    table: cooccurrence_count.Cells,
    room: int,
    free: NDArray[np.int64],
    places: NDArray[np.int64],
    x_max: float,
    alpha: float,
) -> None:
    """Write each cell at the next free place of its block."""
    done = 0
    for first, second, values in _pieces(table):
        done += len(values)
        # On the diagonal every cell is followed by its mirror image, wherever a piece ends.
        both = (first % STRIPES == second % STRIPES) & (first != second)
        place = np.repeat(np.arange(len(values)), 1 + both)
        mirrored = np.concatenate([[False], place[1:] == place[:-1]])
        first, second, given = first[place], second[place], values[place]
        first, second = np.where(mirrored, second, first), np.where(mirrored, first, second)
        exchanged = first % STRIPES > second % STRIPES
        block = _block(first, second)
        order = np.argsort(block.astype(np.uint16), kind="stable")
        made = np.empty(len(block), CELL)
        made["word"] = places[np.where(exchanged, second, first)]
        made["context"] = places[np.where(exchanged, first, second)]
        logs = log(given.astype(np.float64))
        made["log"], made["weight"] = logs, weight(logs, x_max, alpha)
        made = made[order]
        sizes = np.bincount(block, minlength=len(free))
        begin = 0
        for number in np.flatnonzero(sizes).tolist():
            end = begin + int(sizes[number])
            _write(room, int(free[number]), made[begin:end])
            begin = end
        free += sizes
        events.emit("progress", label="sorting", done=done, total=len(table.columns), unit="cells")


def weight(logs: Doubles, x_max: float, alpha: float) -> Doubles:
    """f(x) = (x / x_max)^alpha, at most 1 (Pennington et al. 2014, equation 9), from log x."""
    return _exp(alpha * np.minimum(logs - log(np.array([x_max])), 0.0))


def log(x: Doubles) -> Doubles:
    """The natural logarithm of positive numbers, to about the last place.

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
    """e to the y for y <= 0; below -87, where 32 bits end, that of -87. y = n ln 2 + r; e^r by its Taylor series."""
    y = np.maximum(y, -87.0)
    n = np.rint(y * 1.4426950408889634)
    r = y - n * 0.6931471805599453
    series = np.ones_like(r)
    for power in range(14, 0, -1):
        series = series * r / power + 1
    return np.ldexp(series, n.astype(np.int32))
