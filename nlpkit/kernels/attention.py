"""The attention of learning (nlpkit/kernels/attention_code.py) as a function of tensors: where it may be used, who
shares the work.

It takes queries, keys and values as the projections made them, all sequences of a batch at once, so that no head is
cut out and put back. Threads share heads of sequences; each number is one sum in a written order, so its bits depend on
neither threads nor processor nor what else is in the batch.

Shapes: N tokens, A of them that ask (all, or those that are wanted), M model width, H heads, W width of a head, B
sequences, T tokens of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.kernels import cost as costs
from nlpkit.kernels import product
from nlpkit.kernels.pointwise import share
from nlpkit.kernels.shapes import FILLED, KEYS, LOWEST, PARTS, QUERIES
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.attention_code")


class Run(Protocol):
    """Neighbouring sequences of the same length."""

    @property
    def count(self) -> int: ...
    @property
    def length(self) -> int: ...


class Packing(Protocol):
    """How long the sequences of a batch are, in their order (`nlpkit.layers.packing`)."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def runs(self) -> Sequence[Run]: ...


def usable(*tensors: Tensor) -> bool:
    """Whether kernels take these queries, keys and values; an estimate's, which have no memory, not."""
    return product.usable(*tensors) and all(type(x) is Tensor for x in tensors)


def described(
    packing: Packing, sights: Sequence[str | Tensor], heads: int, firsts: NDArray[np.int64], asked: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """What kernels must know of a batch: [1 + sequences, PARTS], of which the first row has their number, and all masks
    in a row. ``firsts`` and ``asked`` are what `asking` says."""
    units = np.zeros((1 + len(packing.lengths), PARTS), np.int64)  # numpy's calls take a tenth of the time of torch's
    units[0, 0], units[1:, 0], units[1:, 1] = len(packing.lengths), _ends(packing) - packing.lengths, packing.lengths
    units[1:, 7], units[1:, 8] = firsts, asked
    masks, place, first = list[Tensor](), 0, 1
    for run, sight in zip(packing.runs, sights, strict=True):
        part = units[first : first + run.count]
        first += run.count
        if isinstance(sight, Tensor):
            mask = (
                torch.zeros(sight.shape).masked_fill_(~sight, LOWEST) if sight.dtype == torch.bool else sight.detach()
            )
            mask = mask.clamp(min=LOWEST)
            mask = mask.expand(*mask.shape[:-1], run.length).contiguous()
            whole = mask.expand(run.count, heads, run.length, run.length)
            part[:, 3], part[:, 4] = 1, place + whole.stride(0) * np.arange(run.count)
            part[:, 5], part[:, 6] = whole.stride(1), whole.stride(2)
            masks.append(mask.view(-1))
            place += mask.numel()
        elif sight == "causal":
            part[:, 2] = 1
    all_masks = masks[0] if len(masks) == 1 else torch.cat(masks) if masks else torch.zeros(1)
    return torch.from_numpy(units), all_masks


def _ends(packing: Packing) -> NDArray[np.int64]:
    """The token after the last of each sequence."""
    return np.cumsum(packing.lengths, dtype=np.int64)


def asking(packing: Packing, places: Tensor | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each sequence the first query and the number of them, [B] each: all tokens ask, or those at ``places``."""
    ends = _ends(packing)
    starts = ends - packing.lengths
    if places is None:
        return starts, ends - starts
    firsts, lasts = np.searchsorted(places.numpy(), [starts, ends])
    return firsts, lasts - firsts


class Attend(torch.autograd.Function):
    """softmax(q k^T / sqrt(W)) v inside of each sequence."""

    @staticmethod
    def forward(ctx: Any, q_AM: Tensor, k_NM: Tensor, v_NM: Tensor, units: Tensor, masks: Tensor, heads: int,
                longest: int, cost: int) -> Tensor:  # fmt: skip
        q_AM, k_NM, v_NM = q_AM.contiguous(), k_NM.contiguous(), v_NM.contiguous()
        (asked, model), out_AM = q_AM.shape, torch.empty_like(q_AM)
        width, stats_2HA = model // heads, q_AM.new_empty(2, heads, asked)
        filled, blocks = -(-width // FILLED) * FILLED, -(-longest // KEYS)
        size = blocks * KEYS * (width + QUERIES) + (longest + 2 * QUERIES) * filled + QUERIES * 18 + 160
        costs.count(2 * cost)
        spread("forward", (q_AM, k_NM, v_NM, masks, units, out_AM, stats_2HA), heads, size, cost)
        ctx.save_for_backward(q_AM, k_NM, v_NM, masks, units, out_AM, stats_2HA)
        ctx.heads, ctx.longest, ctx.cost = heads, longest, cost
        return out_AM

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_AM, k_NM, v_NM, *_ = saved = ctx.saved_tensors
        width = q_AM.shape[1] // ctx.heads
        filled, blocks = -(-width // FILLED) * FILLED, -(-ctx.longest // KEYS)
        size = 2 * blocks * KEYS * width + 3 * (ctx.longest + 6) * filled + QUERIES * (3 * filled + 2 * KEYS + 1)
        found = [torch.empty_like(part) for part in (q_AM, k_NM, v_NM)]
        given = (*saved, grads[0].contiguous(), *found)
        costs.count(4 * ctx.cost)
        spread("backward", given, ctx.heads, size + 256, 5 * ctx.cost // 2)
        return *found, None, None, None, None, None


def spread(name: str, given: Sequence[Tensor], heads: int, room: int, cost: int) -> None:
    """Call a kernel for all heads of all sequences, each thread with a room of its own."""
    asked, model = given[0].shape
    places, kernel = [part.data_ptr() for part in given], getattr(KERNELS, name)
    width, threads = model // heads, torch.get_num_threads()

    def work(begin: int, end: int) -> None:
        own = torch.empty(room)
        kernel(*places, own.data_ptr(), width**-0.5, asked, heads, width, begin, end, threads)

    share(work, threads, cost)


def attend(
    q_AM: Tensor, k_NM: Tensor, v_NM: Tensor, packing: Packing, sights: Sequence[str | Tensor], heads: int,
    places: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """softmax(q k^T / sqrt(W)) v inside of each sequence, [A, M]; ``sights`` has for each run "all", "causal", or who
    may be seen (bool) or what is added to the scores (float), broadcastable to [B, H, T, T]. The queries are those of
    all tokens, or of the tokens at ``places`` [A], in their order, which see all of their sequence."""
    firsts, asked = asking(packing, places)
    units, masks = described(packing, sights, heads, firsts, asked)
    longest = max(packing.lengths, default=0)
    cost = 2 * q_AM.shape[1] * int(asked @ np.array(packing.lengths, np.int64))
    out: Tensor = Attend.apply(q_AM, k_NM, v_NM, units, masks, heads, longest, cost)  # type: ignore[no-untyped-call]
    return out
