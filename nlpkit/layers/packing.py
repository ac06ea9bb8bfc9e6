"""Sequences without padding.

A batch is one flat row of tokens; `Packing` says where each sequence begins. Bricks that work token by token
(projections, norms, feed-forward) never notice; attention runs once for each run of neighbouring sequences of equal
length. No position is spent on padding, and no score depends on which texts share a batch.

Shapes: N tokens of a batch, A of them that are wanted, B sequences, T tokens of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Run:
    """``count`` neighbouring sequences of the same ``length``, the first at token ``start``."""

    start: int
    count: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.count * self.length


@dataclass(frozen=True)
class Packing:
    """The lengths of a batch's sequences, in their order in the flat row."""

    lengths: tuple[int, ...]

    @staticmethod
    def of(lengths: Sequence[int]) -> Packing:
        return Packing(tuple(int(length) for length in lengths))

    @cached_property
    def total(self) -> int:
        """N: tokens of the batch."""
        return sum(self.lengths)

    @cached_property
    def starts(self) -> Tensor:
        """First token of each sequence, [B] int64."""
        lengths = torch.tensor(self.lengths, dtype=torch.int64)
        return lengths.cumsum(0) - lengths

    @cached_property
    def ends(self) -> Tensor:
        """Last token of each sequence, [B] int64."""
        return torch.tensor(self.lengths, dtype=torch.int64).cumsum(0) - 1

    @cached_property
    def sequence(self) -> Tensor:
        """Which sequence each token belongs to, [N] int64."""
        return torch.repeat_interleave(torch.arange(len(self.lengths)), torch.tensor(self.lengths))

    @cached_property
    def positions(self) -> Tensor:
        """Place of each token in its sequence, from 0, [N] int64."""
        return torch.arange(self.total) - self.starts[self.sequence]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Runs of equal length. A source that sorts its sequences by length makes them few."""
        found: list[Run] = []
        start = 0
        for length in self.lengths:
            if found and found[-1].length == length:
                found[-1] = Run(found[-1].start, found[-1].count + 1, length)
            else:
                found.append(Run(start, 1, length))
            start += length
        return tuple(found)


def rows(x_ND: Tensor, places_A: Tensor | None) -> Tensor:
    """The rows of the tokens at ``places_A``, [A, D]; all of them where it is None."""
    return x_ND if places_A is None else x_ND.index_select(0, places_A)
