"""The order of examples and their batches: a function of (seed, epoch) and the lengths.

Every epoch is a permutation. Batches hold about ``batch_tokens`` tokens. Inside a window of batches the examples are
sorted by length, so that a batch has few different lengths (attention runs once for each), and then the window's
batches are shuffled, so that short sequences do not come before long ones:

    permutation  ->  windows of 64 batches  ->  sort by length  ->  cut into batches  ->  shuffle the batches

The examples of an update can be read in parts, one or more for each process (together they are the same examples), and
each part in several batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch

WINDOW = 64  # batches that are sorted by length together
Position = dict[str, int]  # {"epoch": ..., "batch": ...}: the next batch to read; plain JSON


@dataclass(frozen=True)
class Part:
    """A part of a batch. With fewer sequences than parts some are ``empty``; these carry the batch's first sequence as
    a dummy, because FSDP needs a forward pass in every process."""

    batch: Batch
    empty: bool = False


@dataclass(frozen=True)
class Read:
    """The examples of one update: the batches of each chosen part. ``after`` is the position of the next update."""

    parts: list[list[Part]]
    epoch: int
    after: Position


class Source(Protocol):
    """An endless stream of the updates' examples, which can start at any position."""

    def read(self, position: Position, parts: int, chosen: Sequence[int]) -> Iterator[Read]:
        """From ``position`` on, epoch after epoch: the ``chosen`` ones of the ``parts`` of each update."""

    def count(self, epochs: int) -> int:
        """The number of updates in the first ``epochs`` epochs."""


START: Position = {"epoch": 0, "batch": 0}


def epoch_batches(lengths: NDArray[np.int64], batch_tokens: int, rng: Address) -> list[NDArray[np.int64]]:
    """The batches of one epoch as arrays of example numbers; every example is in exactly one.

    Errors: none; an example longer than ``batch_tokens`` is a batch by itself.
    """
    order = rng.generator().permutation(len(lengths))
    if len(lengths) and lengths.min() == lengths.max():
        size = max(1, batch_tokens // int(lengths[0]))
        return [order[start : start + size] for start in range(0, len(order), size)]
    ends = np.cumsum(lengths[order])
    size = WINDOW * batch_tokens
    windows = np.searchsorted(ends, np.arange(size, ends[-1] if len(ends) else 0, size))
    batches: list[NDArray[np.int64]] = []
    for number, window in enumerate(np.split(order, windows)):
        window = window[np.argsort(lengths[window], kind="stable")]
        cuts = _cut(lengths[window], batch_tokens)
        parts = [part for part in np.split(window, cuts) if len(part)]
        shuffled = rng.at("window", number).generator().permutation(len(parts))
        batches += [parts[index] for index in shuffled]
    return batches


def _cut(lengths: NDArray[np.int64], batch_tokens: int) -> NDArray[np.int64]:
    """Where to cut a sorted window into parts of equally many tokens, at most one example above ``batch_tokens``."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    parts = max(1, -(-total // batch_tokens))
    return np.unique(np.searchsorted(ends, np.arange(1, parts) * (total / parts), side="left"))


def cut(examples: NDArray[np.int64], lengths: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """A batch in ``parts`` of about equally many tokens, its order kept. With few sequences some parts are empty."""
    middles = (
        np.cumsum(lengths[examples]) - lengths[examples] / 2
    )  # a sequence belongs to the part that holds its middle
    ends = np.arange(1, parts) * (int(lengths[examples].sum()) / parts)
    return np.split(examples, np.searchsorted(middles, ends))


class Epochs:
    """A `Source` made of two functions: the lengths of the examples, and a batch from example numbers.

    ``make(examples, epoch)`` may depend on the epoch (pairs are drawn anew in each). An update has ``accumulate``
    batches of about ``batch_tokens`` each. The product of the two decides its sequences, so that it can be computed as
    one large batch, or as many small ones where memory is short.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        make: Callable[[NDArray[np.int64], int], Batch],
        *,
        batch_tokens: int,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        self.lengths, self.make, self.batch_tokens, self.seed = lengths, make, batch_tokens, seed
        self.accumulate = accumulate

    def accumulated(self, accumulate: int) -> Epochs:
        """The same sequences, ``accumulate`` batches for each update. Errors: fewer than one."""
        if accumulate < 1:
            raise UserError(f"accumulate is {accumulate}, expected at least 1")
        return Epochs(self.lengths, self.make, batch_tokens=self.batch_tokens, seed=self.seed, accumulate=accumulate)

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """The example numbers of each update of an epoch."""
        tokens = self.batch_tokens * self.accumulate
        return epoch_batches(self.lengths, tokens, Address(self.seed, ("order", epoch)))

    def pieces(self, examples: NDArray[np.int64], parts: int) -> list[list[NDArray[np.int64]]]:
        """An update's examples in parts, and each part in its batches."""
        return [cut(part, self.lengths, self.accumulate) for part in cut(examples, self.lengths, parts)]

    def read(self, position: Position, parts: int, chosen: Sequence[int]) -> Iterator[Read]:
        epoch, start = position["epoch"], position["batch"]
        while True:
            plan = self.plan(epoch)
            for number in range(start, len(plan)):
                last = number + 1 == len(plan)
                after = {"epoch": epoch + 1, "batch": 0} if last else {"epoch": epoch, "batch": number + 1}
                pieces = self.pieces(plan[number], parts)
                read_parts = [[self._part(piece, plan[number], epoch) for piece in pieces[part]] for part in chosen]
                yield Read(read_parts, epoch, after)
            epoch, start = epoch + 1, 0

    def _part(self, examples: NDArray[np.int64], batch: NDArray[np.int64], epoch: int) -> Part:
        if len(examples):
            return Part(self.make(examples, epoch))
        return Part(self.make(batch[:1], epoch), empty=True)

    def batches(self, position: Position) -> Iterator[tuple[Batch, int, Position]]:
        """`read`, where each update has one batch."""
        for read in self.read(position, 1, (0,)):
            ((whole,),) = read.parts
            yield whole.batch, read.epoch, read.after

    def count(self, epochs: int) -> int:
        return sum(len(self.plan(epoch)) for epoch in range(epochs))


def in_order(lengths: NDArray[np.int64], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches for evaluation: longest first, nothing random, every example once."""
    order = np.argsort(-lengths, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches
