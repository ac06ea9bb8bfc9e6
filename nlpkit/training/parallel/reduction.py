"""The gradients of a batch's parts, summed to the same bits for any number of processes.

Each part's gradient is a sum over its targets, already divided by the targets of the whole step, so the parts only need
to be added, in the order of nlpkit/training/parallel/tree.py. `Local` adds them in one process. In `Replicated` every
process has all weights, and rank r sums slice r of the gradient:

    rank 0: parts 0-1  | s0 s1 |  all-to-all   s0 of parts 0-3, summed along the tree   all-gather
    rank 1: parts 2-3  | s0 s1 |  ---------->  s1 of parts 0-3, summed along the tree   ---------->  s0 s1 in each

That moves as many bytes as the usual all-reduce, whose order of summation is not specified.
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
from nlpkit.training.parallel.tree import Span, Tree, parts_of_rank

BUCKET_BYTES = 25 << 20  # of gradients sent together, while the backward computes the next ones
_ALIGN = 16  # elements: each gradient begins at a multiple of this in its bucket


class Local:
    """All parts in this process, one after the other. ``parts`` are those to compute, in their order."""

    empties = False  # whether a part without sequences must be computed as well
    keeps = True  # whether this process stores whole copies of the weights

    def __init__(self, model: Model, parts: int) -> None:
        self.tree = Tree(parts)
        self.parts: list[int] = list(range(parts))
        self.parameters: Parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.sums: dict[str, dict[Span, Tensor]] = {name: {} for name in self.parameters}

    def backward_next(self, part: int, *, last_of_part: bool, last: bool) -> None:
        """Called before each backward: of which part, whether it is the last of the part, and the last of the step."""

    def part_done(self, part: int) -> None:
        """Take the gradients of a part, the sums over all its batches."""
        if len(self.tree.above):
            for name, parameter in self.parameters.items():
                self._take(name, parameter, (part, part + 1))

    def finish(self) -> None:
        """Every parameter gets the sum of all parts as its gradient, or None when no part has one."""
        if len(self.tree.above):
            for name, parameter in self.parameters.items():
                parameter.grad = self.tree.take(self.sums[name], self.tree.root)

    def row_norms(self, gradients: list[Tensor]) -> list[Tensor]:
        """The norm of each row of each gradient, for the norm of all."""
        return row_norms(gradients)

    def close(self, model: Model) -> None:
        """The end of training: remove what the constructor added to the model; its weights stay."""

    def _take(self, name: str, parameter: torch.nn.Parameter, span: Span) -> None:
        if parameter.grad is not None:
            self.tree.grow(self.sums[name], span, parameter.grad)
            parameter.grad = None


@dataclass
class Bucket:
    """Gradients that are sent together: ``offsets`` are where each begins in a flat row of ``size`` elements."""

    offsets: Mapping[str, int]
    size: int
    waiting: set[str] = field(default_factory=set)  # the gradients that this step's backward has not computed yet
    work: Any = None
    buffers: tuple[Tensor, ...] = ()  # of the communication that is running; freed when it has finished


class Replicated(Local):
    """Every process has all weights and moments, and computes a range of the parts."""

    def __init__(self, model: Model, parts: int) -> None:
        super().__init__(model, parts)
        here = world()
        self.rank, self.size = here.rank, here.size
        ranges = [parts_of_rank(parts, self.size, rank) for rank in range(self.size)]
        self.parts = list(ranges[self.rank])
        self.branches = [self.tree.cover(item.start, item.stop) for item in ranges]  # sums that each process sends
        self.buckets: list[Bucket] = []
        self.taken: set[str] = set()
        self.sent = 0  # number of buckets sent in this step
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
        # A parameter that no part in any process has used has no gradient: AdamW must not let it decay.
        used = gather([float(name in self.taken) for name in self.parameters])
        held = {name for name, *flags in zip(self.parameters, *used, strict=True) if any(flags)}
        known = {name for bucket in self.buckets for name in bucket.offsets}
        new = self._in_buckets(held - known)
        for bucket in new:
            self._send(bucket)
        buckets = self.buckets + new
        for bucket in buckets:
            self._add(bucket)
        for bucket in buckets:
            self._spread(bucket, held)
        if new:  # from the next step on they are sent during the backward
            self.buckets = self._in_buckets(held | known)
        self.sent = 0
        self.taken.clear()
        for bucket in self.buckets:
            bucket.waiting = set(bucket.offsets)

    def close(self, model: Model) -> None:
        for hook in self.hooks:
            hook.remove()

    def _take(self, name: str, parameter: torch.nn.Parameter, span: Span) -> None:
        if parameter.grad is not None:
            self.taken.add(name)
        super()._take(name, parameter, span)

    def _arrived(self, name: str, parameter: torch.nn.Parameter) -> None:
        """A gradient is complete; when it is the last of a bucket, send the bucket. All processes send in one order."""
        if self.last is None:
            return
        self._take(name, parameter, (self.last, self.last + 1))
        for bucket in self.buckets:
            bucket.waiting.discard(name)
        while self.sent < len(self.buckets) and not self.buckets[self.sent].waiting:
            self._send(self.buckets[self.sent])
            self.sent += 1

    def _in_buckets(self, names: set[str]) -> list[Bucket]:
        """Group gradients in the order in which the backward computes them, about `BUCKET_BYTES` a group."""
        chosen = [name for name in reversed(list(self.parameters)) if name in names]
        groups: list[list[str]] = []
        remaining = 0
        for name in chosen:
            size = self.parameters[name].numel() * self.parameters[name].element_size()
            if not groups or size > remaining:
                groups.append([])
                remaining = BUCKET_BYTES
            groups[-1].append(name)
            remaining -= size
        return [self._bucket(group) for group in groups]

    def _bucket(self, names: list[str]) -> Bucket:
        sizes = [-(-self.parameters[name].numel() // _ALIGN) * _ALIGN for name in names]
        ends = list(accumulate(sizes))
        whole = -(-ends[-1] // (self.size * _ALIGN)) * self.size * _ALIGN
        return Bucket(dict(zip(names, [0, *ends], strict=False)), whole)

    def _send(self, bucket: Bucket) -> None:
        """Send every process its slice of this one's sums."""
        mine, slice_ = self.branches[self.rank], bucket.size // self.size
        first = self.parameters[next(iter(bucket.offsets))]
        row = first.new_zeros(len(mine), bucket.size, requires_grad=False)
        for name, start in bucket.offsets.items():
            for number, span in enumerate(mine):
                if (value := self.tree.take(self.sums[name], span)) is not None:
                    row[number, start : start + value.numel()] = value.reshape(-1)
        out = row.view(len(mine), self.size, slice_).transpose(0, 1).reshape(-1)
        into = row.new_empty(sum(map(len, self.branches)) * slice_)
        sent, received = [len(mine) * slice_] * self.size, [len(spans) * slice_ for spans in self.branches]
        bucket.work = dist.all_to_all_single(into, out, received, sent, async_op=True)
        bucket.buffers = (out, into)

    def _add(self, bucket: Bucket) -> None:
        """Sum this process's slice over all parts, in the order of the tree, and send it to all processes."""
        bucket.work.wait()
        slice_ = bucket.size // self.size
        spans = [span for branches in self.branches for span in branches]
        slices = dict(zip(spans, bucket.buffers[1].view(-1, slice_), strict=True))
        summed = self.tree.take(slices, self.tree.root)
        assert summed is not None, "every part belongs to a process"
        row = summed.new_empty(bucket.size)
        bucket.work = _all_gather(row, summed.contiguous())
        bucket.buffers = (summed, row)

    def _spread(self, bucket: Bucket, held: set[str]) -> None:
        bucket.work.wait()
        row = bucket.buffers[1]
        for name, start in bucket.offsets.items():
            parameter = self.parameters[name]
            parameter.grad = row[start : start + parameter.numel()].view_as(parameter) if name in held else None
        bucket.work, bucket.buffers = None, ()


def _all_gather(into: Tensor, mine: Tensor) -> Any:
    """Start gathering equal slices in one row; torch 2.13 has renamed the function."""
    function = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return function(into, mine, async_op=True)
