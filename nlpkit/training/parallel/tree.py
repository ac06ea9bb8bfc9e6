"""Sums in one fixed order, whichever process computes their terms.

A batch is computed in parts, and floating-point sums depend on their order. So the gradients of the parts are added
pairwise along a tree that depends only on the number of parts: halves of halves. A process sums its own range of the
parts; the processes exchange sums of whole branches, and the result has the same bits for any number of processes.

    parts       0     1     2     3     2 processes: ranges 0-1 and 2-3, which send (0, 2) and (2, 4)
                +--+--+     +--+--+     3 processes: ranges 0-1, 2 and 3, which send (0, 2), (2, 3) and (3, 4)
    branches     (0, 2)      (2, 4)
                   +-----+-----+
    root               (0, 4)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T", bound=Any)  # tensors, or anything with add_
Span = tuple[int, int]  # a half-open range of parts, [first, last)


class Tree:
    """The tree over ``parts`` leaves; a branch is the `Span` of its leaves."""

    def __init__(self, parts: int) -> None:
        self.root: Span = (0, parts)
        self.above: dict[Span, tuple[Span, Span, Span]] = {}  # branch -> its parent, and the parent's two halves
        for span in self._branches(self.root):
            if halves := _halves(span):
                for half in halves:
                    self.above[half] = (span, *halves)

    def _branches(self, span: Span) -> Iterator[Span]:
        yield span
        for half in _halves(span):
            yield from self._branches(half)

    def cover(self, first: int, last: int) -> list[Span]:
        """The fewest branches that together cover the parts [``first``, ``last``)."""

        def inside(span: Span) -> Iterator[Span]:
            if first <= span[0] and span[1] <= last:
                yield span
            elif span[0] < last and first < span[1]:
                for half in _halves(span):
                    yield from inside(half)

        return list(inside(self.root)) if first < last else []

    def grow(self, sums: dict[Span, T], span: Span, value: T) -> None:
        """Enter the sum of a branch into ``sums``; two halves become their parent, in place of the first."""
        sums[span] = value
        while span in self.above:
            span, left, right = self.above[span]
            if not (left in sums and right in sums):
                return
            sums[span] = sums.pop(left).add_(sums.pop(right))

    def take(self, sums: dict[Span, T], span: Span) -> T | None:
        """Remove and return the sum of a branch. A missing part counts as zero; None when all of them are missing."""
        if span in sums:
            return sums.pop(span)
        left, right = (self.take(sums, half) for half in _halves(span)) if _halves(span) else (None, None)
        if left is None or right is None:
            some = right if left is None else left
            only: T | None = None if some is None else some.add_(0.0)
            return only  # -0 + 0 is 0, the same bits as with a half of zeros
        both: T = left.add_(right)
        return both


def _halves(span: Span) -> tuple[Span, Span] | tuple[()]:
    low, high = span
    middle = (low + high) // 2
    return () if high - low < 2 else ((low, middle), (middle, high))


def parts_of_rank(parts: int, size: int, rank: int) -> range:
    """The parts of one process: a contiguous range, so that it holds whole branches; the first ranks have the most."""
    return range(-(-rank * parts // size), -(-(rank + 1) * parts // size))
