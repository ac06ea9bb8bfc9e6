"""Who attends to whom in a batch: one object, which all layers of a model read.

Shapes: B sequences of a run, H heads, T queries and S keys of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nlpkit.layers.packing import Packing, Run
from nlpkit.layers.state import State


@dataclass(frozen=True, eq=False)
class View:
    """The tokens that ask, ``queries``, and those that are seen, ``keys``, sequence by sequence.

    ``causal``: the last query of a sequence sees all its keys, each one before it one fewer (query i sees the keys up
    to i + S - T). ``masks``, where a band does not say it: a tensor for each run of `runs` that broadcasts to
    [B, H, T, S], bool (True: is seen) or float (added to the scores; -inf: is not seen). ``kept``: what kernels derive
    from it, once for all layers.
    """

    queries: Packing
    keys: Packing
    causal: bool = False
    masks: tuple[Tensor, ...] = ()
    kept: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.queries.lengths) != len(self.keys.lengths):
            raise ValueError(f"{len(self.queries.lengths)} sequences ask, {len(self.keys.lengths)} are seen")
        if self.masks and len(self.masks) != len(self.runs):
            raise ValueError(f"{len(self.masks)} masks for {len(self.runs)} runs")

    @staticmethod
    def of(packing: Packing, *, causal: bool = False, masks: Sequence[Tensor] = ()) -> View:
        """Every sequence attends to itself."""
        return View(packing, packing, causal, tuple(masks))

    @cached_property
    def runs(self) -> tuple[tuple[Run, Run], ...]:
        """Neighbouring sequences with the same number of queries and of keys: those of the queries, and of the keys."""
        if self.queries is self.keys:
            return tuple((run, run) for run in self.queries.runs)
        grouped: list[tuple[Run, Run]] = []
        asking = seen = 0
        for queries, keys in zip(self.queries.lengths, self.keys.lengths, strict=True):
            if grouped and (grouped[-1][0].length, grouped[-1][1].length) == (queries, keys):
                grouped[-1] = (
                    Run(grouped[-1][0].start, grouped[-1][0].count + 1, queries),
                    Run(grouped[-1][1].start, grouped[-1][1].count + 1, keys),
                )
            else:
                grouped.append((Run(asking, 1, queries), Run(seen, 1, keys)))
            asking, seen = asking + queries, seen + keys
        return tuple(grouped)

    @cached_property
    def positions(self) -> Tensor:
        """The position of each query in its sequence, [A] int64, if the queries are its last tokens."""
        if self.queries is self.keys:
            return self.queries.positions
        more = torch.tensor(self.keys.lengths) - torch.tensor(self.queries.lengths)
        return self.queries.positions + more[self.queries.sequence]


def reading_on(packing: Packing, state: State | None) -> View:
    """Every token attends to itself and those before it, of the batch and of what a ``state`` has read earlier of its
    sequence. Errors: a state of other sequences."""
    before = () if state is None else state.lengths
    if not any(before):
        return View(packing, packing, causal=True)
    if len(before) != len(packing.lengths):
        raise ValueError(f"the state is of {len(before)} sequences, the batch of {len(packing.lengths)}")
    return View(packing, Packing.of([a + b for a, b in zip(packing.lengths, before, strict=True)]), causal=True)
