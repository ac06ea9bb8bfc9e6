"""Sums in one written order, whoever computes their terms.

A batch is computed in parts, and floating-point sums depend on their order. So the gradients of the parts are added
pairwise along a tree that the number of parts alone decides: halves of halves. A process sums what lies in its share of
the parts; what the processes then exchange are sums of whole branches, and the result has the same bits for any number
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T", bound=Any)  # tensors, or whatever can be added in place
Span = tuple[int, int]  # the parts from the first up to, without it, the second


class Tree:
    """The tree over ``parts`` leaves; a branch is the `Span` of its leaves."""

    def __init__(self, parts: int) -> None:
        self.root: Span = (0, parts)
        self.above: dict[Span, tuple[Span, Span, Span]] = {}  # branch -> the one above it, and that one's two halves
        for span in self._branches(self.root):
            if halves := _halves(span):
                for half in halves:
                    self.above[half] = (span, *halves)

    def _branches(self, span: Span) -> Iterator[Span]:
        yield span
        for half in _halves(span):
            yield from self._branches(half)

    def cover(self, first: int, last: int) -> list[Span]:
        """The fewest branches that together hold the parts from ``first`` up to ``last``."""

        def inside(span: Span) -> Iterator[Span]:
            if first <= span[0] and span[1] <= last:
                yield span
            elif span[0] < last and first < span[1]:
                for half in _halves(span):
                    yield from inside(half)

        return list(inside(self.root)) if first < last else []

    def grow(self, found: dict[Span, T], span: Span, value: T) -> None:
        """Enter the sum of a branch, which is then ours to change; two halves become the branch above them."""
        found[span] = value
        while span in self.above:
            span, left, right = self.above[span]
            if not (left in found and right in found):
                return
            found[span] = found.pop(left).add_(found.pop(right))

    def take(self, found: dict[Span, T], span: Span) -> T | None:
        """Take out the sum of a branch. A part that is missing counts as zero; None when all of them are."""
        if span in found:
            return found.pop(span)
        left, right = (self.take(found, half) for half in _halves(span)) if _halves(span) else (None, None)
        if left is None or right is None:
            some = right if left is None else left
            only: T | None = None if some is None else some.add_(0.0)
            return only  # -0 + 0 is 0, as if the other half had been zeros
        both: T = left.add_(right)
        return both


def _halves(span: Span) -> tuple[Span, Span] | tuple[()]:
    low, high = span
    middle = (low + high) // 2
    return () if high - low < 2 else ((low, middle), (middle, high))


def share(parts: int, size: int, rank: int) -> range:
    """The parts of one process: neighbours, so that it holds whole branches; the first processes have the most."""
    return range(-(-rank * parts // size), -(-(rank + 1) * parts // size))
