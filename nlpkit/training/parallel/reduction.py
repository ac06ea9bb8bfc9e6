"""How the gradients of a batch's parts become one gradient, the same bits for any number of processes.

Each part's gradient is a sum over its answers, already divided by the answers of the whole step, so that adding is all
there is to do. The order is that of nlpkit/training/parallel/tree.py. `Local` does it in one process. In `Replicated`
every process has all weights: each sends every other its slice of the gradient's parts (all-to-all), adds the slice
that is its own along the tree, and gathers the slices of the others. That moves as many bytes as the usual all-reduce,
whose order of summation is the library's secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nlpkit.base.world import world
from nlpkit.models.base import Model
from nlpkit.training.parallel.distributed import gather
from nlpkit.training.parallel.gradients import Parameters, row_norms
from nlpkit.training.parallel.tree import Span, Tree, share

BUCKET_BYTES = 25 << 20  # of gradients that travel together, while the backward makes the next ones
_ALIGN = 16  # numbers: each gradient begins at a multiple of this in its bucket


class Local:
    """All parts in this process, one after the other. ``parts`` are those to compute, in their order."""

    empties = False  # whether a part without sequences must be computed as well
    keeps = True  # whether this process keeps whole copies of the weights

    def __init__(self, model: Model, parts: int) -> None:
        self.tree = Tree(parts)
        self.parts: list[int] = list(range(parts))
        self.parameters: Parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.found: dict[str, dict[Span, Tensor]] = {name: {} for name in self.parameters}

    def backward_next(self, part: int, *, last_of_part: bool, last: bool) -> None:
        """Said before each backward: whose it is, whether it is the part's last of the step, and the very last."""

    def part_done(self, part: int) -> None:
        """Take the gradients of a part, which all its batches have added to."""
        if len(self.tree.above):
            for name, parameter in self.parameters.items():
                self._take(name, parameter, (part, part + 1))

    def finish(self) -> None:
        """Every parameter gets the sum of all parts as its gradient, or None when no part has one."""
        if len(self.tree.above):
            for name, parameter in self.parameters.items():
                parameter.grad = self.tree.take(self.found[name], self.tree.root)

    def row_norms(self, gradients: list[Tensor]) -> list[Tensor]:
        """The norm of each row of each gradient, for the norm of all."""
        return row_norms(gradients)

    def close(self, model: Model) -> None:
        """The end of training: the model is as it was given, but for its weights."""

    def _take(self, name: str, parameter: torch.nn.Parameter, span: Span) -> None:
        if parameter.grad is not None:
            self.tree.grow(self.found[name], span, parameter.grad)
            parameter.grad = None


@dataclass
class Bucket:
    """Gradients that travel together: ``places`` are where each begins in a flat row of ``size`` numbers."""

    places: Mapping[str, int]
    size: int
    waiting: set[str] = field(default_factory=set)  # the gradients that this step's backward has yet to make
    work: Any = None
    kept: tuple[Tensor, ...] = ()  # what is travelling; freed when it has arrived


class Replicated(Local):
    """Every process has all weights and moments, and computes its share of the parts."""

    def __init__(self, model: Model, parts: int) -> None:
        super().__init__(model, parts)
        here = world()
        self.rank, self.size = here.rank, here.size
        shares = [share(parts, self.size, rank) for rank in range(self.size)]
        self.parts = list(shares[self.rank])
        self.branches = [self.tree.cover(item.start, item.stop) for item in shares]  # what each process sends
        self.buckets: list[Bucket] = []
        self.taken: set[str] = set()
        self.sent = 0  # buckets on their way
        self.last: int | None = None  # the part whose last backward is running
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, name))  # type: ignore[no-untyped-call]
            for name, parameter in self.parameters.items()
        ]

    def backward_next(self, part: int, *, last_of_part: bool, last: bool) -> None:
        if last:
            self.last = part

    def part_done(self, part: int) -> None:
        for name, parameter in self.parameters.items():
            self._take(name, parameter, (part, part + 1))

    def finish(self) -> None:
        self.last = None
        for bucket in self.buckets[self.sent :]:
            self._send(bucket)
        # A parameter that no part of no process has used has no gradient: AdamW must not let it decay.
        used = gather([float(name in self.taken) for name in self.parameters])
        held = {name for name, *flags in zip(self.parameters, *used, strict=True) if any(flags)}
        known = {name for bucket in self.buckets for name in bucket.places}
        new = self._in_buckets(held - known)
        for bucket in new:
            self._send(bucket)
        buckets = self.buckets + new
        for bucket in buckets:
            self._add(bucket)
        for bucket in buckets:
            self._spread(bucket, held)
        if new:  # from now on they are sent as soon as they are there
            self.buckets = self._in_buckets(held | known)
        self.sent = 0
        self.taken.clear()
        for bucket in self.buckets:
            bucket.waiting = set(bucket.places)

    def close(self, model: Model) -> None:
        for hook in self.hooks:
            hook.remove()

    def _take(self, name: str, parameter: torch.nn.Parameter, span: Span) -> None:
        if parameter.grad is not None:
            self.taken.add(name)
        super()._take(name, parameter, span)

    def _arrived(self, name: str, parameter: torch.nn.Parameter) -> None:
        """A gradient is complete; when it is the last of a bucket, the bucket goes. All processes send in one order."""
        if self.last is None:
            return
        self._take(name, parameter, (self.last, self.last + 1))
        for bucket in self.buckets:
            bucket.waiting.discard(name)
        while self.sent < len(self.buckets) and not self.buckets[self.sent].waiting:
            self._send(self.buckets[self.sent])
            self.sent += 1

    def _in_buckets(self, names: set[str]) -> list[Bucket]:
        """Gradients in the order in which the backward makes them, about `BUCKET_BYTES` together."""
        chosen = [name for name in reversed(list(self.parameters)) if name in names]
        found: list[list[str]] = []
        room = 0
        for name in chosen:
            size = self.parameters[name].numel() * self.parameters[name].element_size()
            if not found or size > room:
                found.append([])
                room = BUCKET_BYTES
            found[-1].append(name)
            room -= size
        return [self._bucket(group) for group in found]

    def _bucket(self, names: list[str]) -> Bucket:
        sizes = [-(-self.parameters[name].numel() // _ALIGN) * _ALIGN for name in names]
        ends = list(accumulate(sizes))
        whole = -(-ends[-1] // (self.size * _ALIGN)) * self.size * _ALIGN
        return Bucket(dict(zip(names, [0, *ends], strict=False)), whole)

    def _send(self, bucket: Bucket) -> None:
        """Every process gets its slice of what this one has."""
        mine, slice_ = self.branches[self.rank], bucket.size // self.size
        first = self.parameters[next(iter(bucket.places))]
        row = first.new_zeros(len(mine), bucket.size, requires_grad=False)
        for name, start in bucket.places.items():
            for number, span in enumerate(mine):
                if (value := self.tree.take(self.found[name], span)) is not None:
                    row[number, start : start + value.numel()] = value.reshape(-1)
        out = row.view(len(mine), self.size, slice_).transpose(0, 1).reshape(-1)
        into = row.new_empty(sum(map(len, self.branches)) * slice_)
        sent, received = [len(mine) * slice_] * self.size, [len(spans) * slice_ for spans in self.branches]
        bucket.work = dist.all_to_all_single(into, out, received, sent, async_op=True)
        bucket.kept = (out, into)

    def _add(self, bucket: Bucket) -> None:
        """This process's slice: the sum of all parts, in the order of the tree; then it goes to everybody."""
        bucket.work.wait()
        slice_ = bucket.size // self.size
        spans = [span for branches in self.branches for span in branches]
        found = dict(zip(spans, bucket.kept[1].view(-1, slice_), strict=True))
        summed = self.tree.take(found, self.tree.root)
        assert summed is not None, "every part is some process's"
        row = summed.new_empty(bucket.size)
        bucket.work = _all_gather(row, summed.contiguous())
        bucket.kept = (summed, row)

    def _spread(self, bucket: Bucket, held: set[str]) -> None:
        bucket.work.wait()
        row = bucket.kept[1]
        for name, start in bucket.places.items():
            parameter = self.parameters[name]
            parameter.grad = row[start : start + parameter.numel()].view_as(parameter) if name in held else None
        bucket.work, bucket.kept = None, ()


def _all_gather(into: Tensor, mine: Tensor) -> Any:
    """Start gathering equal slices in one row; torch 2.13 has renamed it."""
    function = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return function(into, mine, async_op=True)
