"""The attention of training (nlpkit/kernels/attention_code.py) as a function of tensors: when it may be used, and how
it is run in threads.

It takes queries, keys and values as the projections return them, all sequences of a batch at once, so that no head is
copied out and back. Threads compute different heads of sequences; each number is one sum in a written order, so its
bits depend on neither threads nor CPU nor the rest of the batch.

Shapes: N keys, A queries (all tokens, or the wanted ones), H heads of queries, K heads of keys and values, W width of a
head, B sequences, T queries and S keys of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


class View(Protocol):
    """Who attends to whom (`nlpkit.layers.view`)."""

    @property
    def queries(self) -> Packing: ...
    @property
    def keys(self) -> Packing: ...
    @property
    def causal(self) -> bool: ...
    @property
    def masks(self) -> Sequence[Tensor]: ...
    @property
    def runs(self) -> Sequence[tuple[Run, Run]]: ...
    @property
    def kept(self) -> dict[Any, Any]: ...


@dataclass(frozen=True)
class Bias:
    """Terms of the scores that learn: of sequence b, head h, query i and key j it is number ``offsets[b] + h head_step
    + i row_steps[b] + j`` of ``values``, which is contiguous. ``shared``: sequences read the same numbers."""

    values: Tensor
    offsets: NDArray[np.int64]
    head_step: int
    row_steps: NDArray[np.int64]
    shared: bool


def usable(*tensors: Tensor) -> bool:
    """Whether kernels take these queries, keys and values; not if they have no memory (memory plans)."""
    return product.usable(*tensors) and all(type(x) is Tensor for x in tensors)


def describe_batch(
    view: View, heads: int, firsts: NDArray[np.int64], counts: NDArray[np.int64], bias: Bias | None = None
) -> tuple[Tensor, Tensor]:
    """A batch for kernels: [1 + sequences, FIELDS], of which the first row has their number, and all masks, flat.
    ``firsts`` and ``counts`` are those of `query_ranges`."""
    lengths = view.keys.lengths
    units = np.zeros((1 + len(lengths), FIELDS), np.int64)  # numpy's calls take a tenth of the time of torch's
    units[0, 0], units[1:, 0], units[1:, 1] = len(lengths), _ends(view.keys) - lengths, lengths
    units[1:, 2], units[1:, 7], units[1:, 8] = view.causal, firsts, counts
    values, offset, first = list[Tensor](), 0, 1
    for (asking, seen), mask in zip(view.runs, view.masks, strict=False):
        part = units[first : first + asking.count]
        first += asking.count
        added = torch.zeros(mask.shape).masked_fill_(~mask, MASKED) if mask.dtype == torch.bool else mask.detach()
        added = added.clamp(min=MASKED)
        added = added.expand(*added.shape[:-1], seen.length).contiguous()
        whole = added.expand(asking.count, heads, asking.length, seen.length)
        part[:, 3], part[:, 4] = 1, offset + whole.stride(0) * np.arange(asking.count)
        part[:, 5], part[:, 6] = whole.stride(1), whole.stride(2)
        values.append(added.view(-1))
        offset += added.numel()
    if bias is not None:
        units[1:, 9], units[1:, 10], units[1:, 11], units[1:, 12] = 1, bias.offsets, bias.head_step, bias.row_steps
        own = np.arange(len(lengths)) * bias.values.numel() if bias.shared else 0
        units[1:, 13] = bias.offsets + own
    flat = values[0] if len(values) == 1 else torch.cat(values) if values else torch.zeros(1)
    return torch.from_numpy(units), flat


def described(view: View, heads: int, bias: Bias | None) -> tuple[Tensor, Tensor]:
    """`describe_batch` of all queries, once for all layers that read the same."""
    key = heads, None if bias is None else (bias.head_step, bias.shared, id(bias.offsets), id(bias.row_steps))
    if key not in view.kept:
        batch = describe_batch(view, heads, *query_ranges(view.queries, None), bias)
        view.kept[key] = batch, bias  # with the bias, so that no other array gets the same id
    units, masks = view.kept[key][0]
    return units, masks


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


@dataclass(frozen=True)
class Sizes:
    """``longest``: the most keys of a sequence; ``cost``: operations of one of the products; ``copies``: how many
    gradients a bias gets, one for each sequence that shares it."""

    heads: int
    kv_heads: int
    scale: float
    longest: int
    cost: int
    copies: int


class Attend(torch.autograd.Function):
    """softmax(q k^T scale + mask + bias) v inside of each sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        q_AM: Tensor,
        k_NM: Tensor,
        v_NM: Tensor,
        bias: Tensor,
        units: Tensor,
        masks: Tensor,
        sizes: Sizes,
    ) -> Tensor:
        q_AM, k_NM, v_NM = q_AM.contiguous(), k_NM.contiguous(), v_NM.contiguous()
        (queries, model), out_AM = q_AM.shape, torch.empty_like(q_AM)
        width, stats_2HA = model // sizes.heads, q_AM.new_empty(2, sizes.heads, queries)
        padded, blocks = -(-width // PAD) * PAD, -(-sizes.longest // KEYS)
        size = blocks * KEYS * (width + QUERIES) + (sizes.longest + 2 * QUERIES) * padded + QUERIES * 18 + 160
        costs.count(2 * sizes.cost)
        run_kernel("forward", (q_AM, k_NM, v_NM, masks, bias, units, out_AM, stats_2HA), sizes, size, sizes.cost)
        ctx.save_for_backward(q_AM, k_NM, v_NM, masks, bias, units, out_AM, stats_2HA)
        ctx.sizes = sizes
        return out_AM

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_AM, k_NM, v_NM, _, bias, *_ = saved = ctx.saved_tensors
        sizes: Sizes = ctx.sizes
        width = q_AM.shape[1] // sizes.heads
        padded, blocks = -(-width // PAD) * PAD, -(-sizes.longest // KEYS)
        size = 2 * blocks * KEYS * width + 3 * (sizes.longest + 6) * padded + QUERIES * (3 * padded + 2 * KEYS + 1)
        gradients = [torch.empty_like(part) for part in (q_AM, k_NM, v_NM)]
        dbias = bias.new_zeros(sizes.copies, *bias.shape)
        tensors = (*saved, grads[0].contiguous(), *gradients, dbias)
        costs.count(4 * sizes.cost)
        run_kernel("backward", tensors, sizes, size + 256, 5 * sizes.cost // 2)
        return *gradients, _in_order(dbias) if ctx.needs_input_grad[3] else None, None, None, None


def _in_order(parts: Tensor) -> Tensor:
    """The sum of tensors, the first plus the second, and so on: numpy adds whole rows, torch deals them to threads."""
    return parts[0] if len(parts) == 1 else torch.from_numpy(np.add.reduce(parts.numpy(), axis=0))


def run_kernel(name: str, tensors: Sequence[Tensor], sizes: Sizes, size: int, cost: int) -> None:
    """Call a kernel for all heads of all sequences, each thread with a workspace of ``size`` numbers."""
    queries, model = tensors[0].shape
    addresses, kernel = [part.data_ptr() for part in tensors], getattr(KERNELS, name)
    numbers = sizes.scale, queries, sizes.heads, sizes.kv_heads, model // sizes.heads
    threads = torch.get_num_threads()

    def work(begin: int, end: int) -> None:
        workspace = torch.empty(size)
        kernel(*addresses, workspace.data_ptr(), *numbers, begin, end, threads)

    run_in_threads(work, threads, cost)


def attend(
    q_AM: Tensor,
    k_NM: Tensor,
    v_NM: Tensor,
    view: View,
    heads: int,
    positions: Tensor | None = None,
    *,
    kv_heads: int | None = None,
    scale: float | None = None,
    bias: Bias | None = None,
) -> Tensor:
    """softmax(q k^T scale + mask + bias) v inside of each sequence, [A, H W]; ``scale`` is 1 / sqrt(W) if not given,
    keys and values are [N, K W]. The queries are those of all tokens, or, of a view without bands and masks, of the
    tokens at ``positions`` [A], in their order."""
    firsts, counts = query_ranges(view.queries, positions)
    units, flat_masks = describe_batch(view, heads, firsts, counts, bias)
    model, lengths = q_AM.shape[1], np.array(view.keys.lengths, np.int64)
    sizes = Sizes(
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        scale=(model // heads) ** -0.5 if scale is None else scale,
        longest=max(view.keys.lengths, default=0),
        cost=2 * model * int(counts @ lengths),
        copies=len(lengths) if bias is not None and bias.shared else 1,
    )
    values = q_AM.new_zeros(1) if bias is None else bias.values
    out: Tensor = Attend.apply(q_AM, k_NM, v_NM, values, units, flat_masks, sizes)  # type: ignore[no-untyped-call]
    return out
