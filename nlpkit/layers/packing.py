"""Sequences without padding.

A batch is one flat row of tokens; `Packing` records where each sequence begins. Layers that work token by token
(projections, norms, feed-forward) do not need it; attention runs once for each run of neighbouring sequences of equal
length. No token is padding, and no score depends on the other texts of a batch.

    tokens [N]     a a a b b b c c d d d d
    lengths        3     3     2   4
    runs           |start 0    |6  |8        of (count 2, length 3), (1, 2), (1, 4)

Shapes: N tokens of a batch, A wanted tokens, B sequences, T tokens of one sequence.
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
        """The index of each token's sequence, [N] int64."""
        return torch.repeat_interleave(torch.arange(len(self.lengths)), torch.tensor(self.lengths))

    @cached_property
    def positions(self) -> Tensor:
        """Position of each token in its sequence, from 0, [N] int64."""
        return torch.arange(self.total) - self.starts[self.sequence]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Runs of equal length; few, when a source sorts its sequences by length."""
        grouped: list[Run] = []
        start = 0
        for length in self.lengths:
            if grouped and grouped[-1].length == length:
                grouped[-1] = Run(grouped[-1].start, grouped[-1].count + 1, length)
            else:
                grouped.append(Run(start, 1, length))
            start += length
        return tuple(grouped)


def rows(x_ND: Tensor, positions_A: Tensor | None) -> Tensor:
    """The rows of the tokens at ``positions_A``, [A, D]; all of them where it is None."""
    return x_ND if positions_A is None else x_ND.index_select(0, positions_A)
