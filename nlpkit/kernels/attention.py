"""The attention of training (nlpkit/kernels/attention_code.py) as a function of tensors: when it may be used, and how
it is run in threads.

It takes queries, keys and values as the projections return them, all sequences of a batch at once, so that no head is
copied out and back. Threads compute different heads of sequences; each number is one sum in a written order, so its
bits depend on neither threads nor CPU nor the rest of the batch.

Shapes: N tokens, A queries (all tokens, or the wanted ones), M model width, H heads, W width of a head, B sequences, T
tokens of one.
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
from nlpkit.kernels.pointwise import run_in_threads
from nlpkit.kernels.shapes import FIELDS, KEYS, MASKED, PAD, QUERIES
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.attention_code")


class Run(Protocol):
    """Neighbouring sequences of the same length."""

    @property
    def count(self) -> int: ...
    @property
    def length(self) -> int: ...


class Packing(Protocol):
    """The lengths of a batch's sequences, in their order (`nlpkit.layers.packing`)."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def runs(self) -> Sequence[Run]: ...


def usable(*tensors: Tensor) -> bool:
    """Whether kernels take these queries, keys and values; not if they have no memory (memory plans)."""
    return product.usable(*tensors) and all(type(x) is Tensor for x in tensors)


def describe_batch(
    packing: Packing, masks: Sequence[str | Tensor], heads: int, firsts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """A batch for kernels: [1 + sequences, FIELDS], of which the first row has their number, and all masks, flat.
    ``firsts`` and ``counts`` are those of `query_ranges`."""
    units = np.zeros((1 + len(packing.lengths), FIELDS), np.int64)  # numpy's calls take a tenth of the time of torch's
    units[0, 0], units[1:, 0], units[1:, 1] = len(packing.lengths), _ends(packing) - packing.lengths, packing.lengths
    units[1:, 7], units[1:, 8] = firsts, counts
    values, offset, first = list[Tensor](), 0, 1
    for run, mask in zip(packing.runs, masks, strict=True):
        part = units[first : first + run.count]
        first += run.count
        if isinstance(mask, Tensor):
            added = torch.zeros(mask.shape).masked_fill_(~mask, MASKED) if mask.dtype == torch.bool else mask.detach()
            added = added.clamp(min=MASKED)
            added = added.expand(*added.shape[:-1], run.length).contiguous()
            whole = added.expand(run.count, heads, run.length, run.length)
            part[:, 3], part[:, 4] = 1, offset + whole.stride(0) * np.arange(run.count)
            part[:, 5], part[:, 6] = whole.stride(1), whole.stride(2)
            values.append(added.view(-1))
            offset += added.numel()
        elif mask == "causal":
            part[:, 2] = 1
    flat = values[0] if len(values) == 1 else torch.cat(values) if values else torch.zeros(1)
    return torch.from_numpy(units), flat


def _ends(packing: Packing) -> NDArray[np.int64]:
    """The end of each sequence: the index behind its last token."""
    return np.cumsum(packing.lengths, dtype=np.int64)


def query_ranges(packing: Packing, positions: Tensor | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each sequence's first query and number of queries, [B] each: all tokens, or those at ``positions``."""
    ends = _ends(packing)
    starts = ends - packing.lengths
    if positions is None:
        return starts, ends - starts
    firsts, lasts = np.searchsorted(positions.numpy(), [starts, ends])
    return firsts, lasts - firsts


class Attend(torch.autograd.Function):
    """softmax(q k^T / sqrt(W)) v inside of each sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        q_AM: Tensor,
        k_NM: Tensor,
        v_NM: Tensor,
        units: Tensor,
        masks: Tensor,
        heads: int,
        longest: int,
        cost: int,
    ) -> Tensor:
        q_AM, k_NM, v_NM = q_AM.contiguous(), k_NM.contiguous(), v_NM.contiguous()
        (queries, model), out_AM = q_AM.shape, torch.empty_like(q_AM)
        width, stats_2HA = model // heads, q_AM.new_empty(2, heads, queries)
        padded, blocks = -(-width // PAD) * PAD, -(-longest // KEYS)
        size = blocks * KEYS * (width + QUERIES) + (longest + 2 * QUERIES) * padded + QUERIES * 18 + 160
        costs.count(2 * cost)
        run_kernel("forward", (q_AM, k_NM, v_NM, masks, units, out_AM, stats_2HA), heads, size, cost)
        ctx.save_for_backward(q_AM, k_NM, v_NM, masks, units, out_AM, stats_2HA)
        ctx.heads, ctx.longest, ctx.cost = heads, longest, cost
        return out_AM

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_AM, k_NM, v_NM, *_ = saved = ctx.saved_tensors
        width = q_AM.shape[1] // ctx.heads
        padded, blocks = -(-width // PAD) * PAD, -(-ctx.longest // KEYS)
        size = 2 * blocks * KEYS * width + 3 * (ctx.longest + 6) * padded + QUERIES * (3 * padded + 2 * KEYS + 1)
        gradients = [torch.empty_like(part) for part in (q_AM, k_NM, v_NM)]
        tensors = (*saved, grads[0].contiguous(), *gradients)
        costs.count(4 * ctx.cost)
        run_kernel("backward", tensors, ctx.heads, size + 256, 5 * ctx.cost // 2)
        return *gradients, None, None, None, None, None


def run_kernel(name: str, tensors: Sequence[Tensor], heads: int, size: int, cost: int) -> None:
    """Call a kernel for all heads of all sequences, each thread with a workspace of ``size`` numbers."""
    queries, model = tensors[0].shape
    addresses, kernel = [part.data_ptr() for part in tensors], getattr(KERNELS, name)
    width, threads = model // heads, torch.get_num_threads()

    def work(begin: int, end: int) -> None:
        workspace = torch.empty(size)
        kernel(*addresses, workspace.data_ptr(), width**-0.5, queries, heads, width, begin, end, threads)

    run_in_threads(work, threads, cost)


def attend(
    q_AM: Tensor,
    k_NM: Tensor,
    v_NM: Tensor,
    packing: Packing,
    masks: Sequence[str | Tensor],
    heads: int,
    positions: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(W)) v inside of each sequence, [A, M]. ``masks`` has for each run "all", "causal", or a
    tensor that broadcasts to [B, H, T, T]: visible keys (bool) or a term of the scores (float). The queries are those
    of all tokens, or of the tokens at ``positions`` [A], in their order, which attend to their whole sequence."""
    firsts, counts = query_ranges(packing, positions)
    units, flat_masks = describe_batch(packing, masks, heads, firsts, counts)
    longest = max(packing.lengths, default=0)
    cost = 2 * q_AM.shape[1] * int(counts @ np.array(packing.lengths, np.int64))
    out: Tensor = Attend.apply(q_AM, k_NM, v_NM, units, flat_masks, heads, longest, cost)  # type: ignore[no-untyped-call]
    return out
