"""Multi-head attention over packed sequences (Vaswani et al. 2017, section 3.2).

Shapes: N tokens that are seen, A tokens that ask, B sequences in a run, T queries, S keys, H heads of queries, K heads
of keys and values, D head width, M model width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from nlpkit.kernels import attention as attending
from nlpkit.kernels import cost, inference
from nlpkit.kernels.attention import Bias
from nlpkit.kernels.shapes import PANEL
from nlpkit.layers.brick import Brick, MakeProduct, altered
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.linear import Linear
from nlpkit.layers.packing import Run, rows
from nlpkit.layers.state import Memory
from nlpkit.layers.view import View


class Positions(Protocol):
    """How attention knows where tokens are, where embeddings do not say it: a module that turns queries and keys, or
    adds a term to the scores, or both."""

    def rotate(self, x_NX: Tensor, positions_N: Tensor) -> Tensor:
        """Queries or keys of any number of heads, [N, H D], turned by their positions."""

    def bias(self, view: View) -> Bias | None:
        """The term of the scores, or None."""


class _Softmax(torch.autograd.Function):
    """torch's softmax, and a backward whose bits do not depend on the number of threads, as those of torch's do."""

    @staticmethod
    def forward(ctx: Any, scores_BHTS: Tensor) -> Tensor:
        weights_BHTS = torch.softmax(scores_BHTS, -1)
        ctx.save_for_backward(weights_BHTS)
        return weights_BHTS

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (weights_BHTS,) = ctx.saved_tensors
        weighted_BHTS = grads[0] * weights_BHTS
        dscores_BHTS: Tensor = weighted_BHTS - weights_BHTS * weighted_BHTS.sum(-1, keepdim=True)
        return dscores_BHTS


def attend(
    q_BHTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    allowed: Tensor | None = None,
    dropout: Callable[[Tensor], Tensor] | None = None,
    scale: float | None = None,
) -> Tensor:
    """dropout(softmax(q k^T scale)) v, product by product, [B, H, T, D]; ``allowed`` is a mask of a `View`, ``scale``
    1 / sqrt(D) if not given.

    For the cases in which the bits of torch's fused kernel depend on the number of threads: fewer queries than keys, or
    dropout. In all others the fused kernel is used, which never stores all scores.
    """
    scores_BHTS = (q_BHTD * (q_BHTD.shape[-1] ** -0.5 if scale is None else scale)) @ k_BHSD.transpose(2, 3)
    if allowed is not None:
        boolean = allowed.dtype == torch.bool
        scores_BHTS = scores_BHTS.masked_fill(~allowed, -torch.inf) if boolean else scores_BHTS + allowed
    if dropout is None and not torch.is_grad_enabled():
        return torch.softmax(scores_BHTS, -1) @ v_BHSD
    weights_BHTS: Tensor = _Softmax.apply(scores_BHTS)  # type: ignore[no-untyped-call]
    return (weights_BHTS if dropout is None else dropout(weights_BHTS)) @ v_BHSD


def _plain(mask: Tensor) -> bool:
    """Whether the kernels support a mask."""
    kind = mask.dtype in (torch.bool, torch.float32) and type(mask) is Tensor and mask.device.type == "cpu"
    return kind and not mask.requires_grad


class Attention(Brick):
    """query, key and value projections, attention inside each sequence, output projection.

    ``n_kv_heads`` heads of keys and values are shared by as many groups of heads of queries (Ainslie et al. 2023,
    "GQA"); ``d_head`` is the width of a head, ``scale`` the factor of the scores (1 / sqrt(d_head) if not given).
    ``dropout`` is of the attention probabilities; it makes attention several times slower on a CPU, so it is 0 in the
    presets. ``crossing``: keys and values are those of other tokens (Vaswani et al. 2017, section 3.2.3).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        scale: float | None = None,
        positions: nn.Module | None = None,
        crossing: bool = False,
    ) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_heads if n_kv_heads is None else n_kv_heads
        self.d_head = d_model // n_heads if d_head is None else d_head
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads cannot share {self.n_kv_heads} heads of keys and values")
        inner, shared = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        self.query = Linear(d_model, inner, bias=bias)
        self.key = Linear(d_model, shared, bias=bias)
        self.value = Linear(d_model, shared, bias=bias)
        self.output = Linear(inner, d_model, bias=bias)
        self.scale = self.d_head**-0.5 if scale is None else scale
        self.dropout, self.crossing = Dropout(dropout), crossing
        self.positions = cast(Positions | None, positions)

    def forward(
        self,
        x_AM: Tensor,
        view: View,
        *,
        keys_NM: Tensor | None = None,
        memory: Memory | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """[A, M], or of the tokens at ``wanted`` only. ``keys_NM`` are the tokens that are seen, if not x_AM.
        ``memory`` holds the keys and values of tokens before this batch; those of this batch are appended. Of a
        crossing attention it holds those of ``keys_NM``, which are read the first time only."""
        by_kernels = memory is None and self._by_kernels(x_AM, view)
        few = wanted if by_kernels and not view.causal and not view.masks and self.positions is None else None
        q_AX, k_NX, v_NX = self._projected(x_AM, view, keys_NM, memory, few)
        bias = None if self.positions is None else self.positions.bias(view)
        out: Tensor
        if by_kernels:
            assert k_NX is not None and v_NX is not None  # there is no memory
            kv_heads, scale = self.n_kv_heads, self.scale
            out_AX = attending.attend(
                q_AX, k_NX, v_NX, view, self.n_heads, few, kv_heads=kv_heads, scale=scale, bias=bias
            )
            out = self.output(out_AX if few is wanted else rows(out_AX, wanted))
            return out
        parts, first = [], 0
        for number, (asking, seen) in enumerate(view.runs):
            sequences = slice(first, first + asking.count)
            first += asking.count
            q_BHTD = self._heads(q_AX, asking, self.n_heads)
            if memory is None:
                k_BKSD, v_BKSD = (self._heads(cast(Tensor, part), seen, self.n_kv_heads) for part in (k_NX, v_NX))
            elif k_NX is None:
                k_BKSD, v_BKSD = (buffer[sequences, :, : seen.length] for buffer in memory.buffers)
            else:
                new, count = seen if self.crossing else asking, len(view.keys.lengths)
                parts_BKTD = [self._heads(cast(Tensor, part), new, self.n_kv_heads) for part in (k_NX, v_NX)]
                k_BKSD, v_BKSD = memory.extend(sequences, count, seen.length - new.length, *parts_BKTD)
            mask = view.masks[number] if view.masks else None
            if bias is not None:
                mask = _joined(mask, _dense(bias, sequences, q_BHTD.shape, seen.length))
            out_BHTD = self._attend(q_BHTD, self._shared(k_BKSD), self._shared(v_BKSD), mask, view.causal)
            parts.append(out_BHTD.transpose(1, 2).reshape(asking.count * asking.length, -1))
        out = self.output(rows(parts[0] if len(parts) == 1 else torch.cat(parts), wanted))
        return out

    def _projected(
        self, x_AM: Tensor, view: View, keys_NM: Tensor | None, memory: Memory | None, few: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Queries, keys and values, turned by their positions; no keys and values where a memory has them."""
        if self.crossing and memory is not None and memory.buffers:
            return self.query(x_AM), None, None
        seen_NM = x_AM if keys_NM is None else keys_NM
        # In this order: in the reverse one autograd adds the gradients of x, and the order is in its bits.
        k_NX, v_NX = self.key(seen_NM), self.value(seen_NM)
        q_AX = self.query(rows(x_AM, few))
        if self.positions is not None:
            at_A = view.positions
            q_AX = self.positions.rotate(q_AX, at_A)
            k_NX = self.positions.rotate(k_NX, at_A if keys_NM is None else view.keys.positions)
        return q_AX, k_NX, v_NX

    def _by_kernels(self, x_AM: Tensor, view: View) -> bool:
        """Whether compiled kernels compute all of it: where a gradient is required, and neither a subclass nor a
        recorder (`nlpkit.layers.watching`) replaces a method."""
        ours = torch.is_grad_enabled() and attending.usable(x_AM) and not altered(self, Attention)
        trainable = x_AM.requires_grad or any(value.requires_grad for value in self.parameters())
        return ours and trainable and not (self.training and self.dropout.rate) and all(map(_plain, view.masks))

    def _heads(self, x_NX: Tensor, run: Run, heads: int) -> Tensor:
        """The tokens of a run, split into heads, [B, H, T, D]."""
        return x_NX[run.start : run.end].view(run.count, run.length, heads, -1).transpose(1, 2)

    def _shared(self, x_BKSD: Tensor) -> Tensor:
        """Heads of keys or values for each head of queries, [B, H, S, D]."""
        if self.n_kv_heads == self.n_heads:
            return x_BKSD
        return x_BKSD.repeat_interleave(self.n_heads // self.n_kv_heads, 1)

    def _attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        allowed = None if mask is None else mask.to(q_BHTD.device)
        (queries, width), keys = q_BHTD.shape[2:], k_BHSD.shape[2]
        causal = causal and queries > 1  # one query, the last, sees all
        # Two products: q k^T, and weights times v.
        cost.with_backward(2 * q_BHTD.numel() * keys, q_BHTD, k_BHSD)
        cost.with_backward(2 * q_BHTD.numel() * keys, q_BHTD, v_BHSD)
        dropout = self.dropout if self.training and self.dropout.rate else None
        if causal and (dropout is not None or queries != keys or allowed is not None):
            before = torch.ones(queries, keys, dtype=torch.bool, device=q_BHTD.device).tril(keys - queries)
            allowed, causal = _joined(before, allowed), False
        if dropout is not None or queries != keys or (allowed is not None and allowed.requires_grad):
            return attend(q_BHTD, k_BHSD, v_BHSD, allowed, dropout, self.scale)
        rest = -width % 16  # the bits of heads of width 8 depend on the number of threads
        if rest:
            q_BHTD, k_BHSD, v_BHSD = (pad(part, (0, rest)) for part in (q_BHTD, k_BHSD, v_BHSD))
        out_BHTD = scaled_dot_product_attention(
            q_BHTD, k_BHSD, v_BHSD, attn_mask=allowed, is_causal=causal, scale=self.scale
        )
        return out_BHTD[..., :width] if rest else out_BHTD

    def inference(self, product: MakeProduct) -> nn.Module:
        parts = (self.query, self.key, self.value, self.output)
        odd = self.positions is not None and self.d_head % 8  # positions do not turn heads that are padded
        return self if odd or any(altered(part, Linear) for part in parts) else Attend(self, product)


def _joined(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What both masks show, with what both add."""
    if one is None or other is None:
        return other if one is None else one
    if one.dtype == other.dtype == torch.bool:
        return one & other
    one, other = (
        torch.zeros(part.shape, device=part.device).masked_fill(~part, -torch.inf) if part.dtype == torch.bool else part
        for part in (one, other)
    )
    return one + other


def _dense(bias: Bias, sequences: slice, shape_BHTD: torch.Size, keys: int) -> Tensor:
    """A bias of sequences of equal lengths as a tensor [B, H, T, S]."""
    heads, queries = shape_BHTD[1:3]
    flat, parts = bias.values.reshape(-1), []
    for number in range(sequences.start, sequences.stop):
        steps, first = int(bias.row_steps[number]), int(bias.offsets[number])
        at_HTS = (
            first
            + bias.head_step * torch.arange(heads)[:, None, None]
            + steps * torch.arange(queries)[:, None]
            + torch.arange(keys)
        )
        parts.append(flat[at_HTS])
        if bias.shared:
            break
    return torch.stack(parts)


class Attend(nn.Module):
    """An `Attention` in inference: one product for query, key and value, or of a crossing one two. Heads are padded
    with zeros, which change no sum, to a multiple of 8 in width."""

    def __init__(self, attention: Attention, product: MakeProduct) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.crossing = attention.n_heads, attention.n_kv_heads, attention.crossing
        width = attention.d_head
        self.scale, rest, self.positions = attention.scale, -width % 8, attention.positions
        self.width = width + rest

        def filled(part: Tensor) -> Tensor:
            """[H W, ...] with each head padded."""
            heads = part.detach().reshape(-1, width, *part.shape[1:])
            return pad(heads.flatten(2), (0, 0, 0, rest)).reshape(-1, *part.shape[1:])

        def joined(*parts: Linear) -> nn.Module:
            weights = torch.cat([filled(part.used()) for part in parts])
            biases = [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
            return product(weights, torch.cat([filled(part[:, None])[:, 0] for part in biases]))

        if self.crossing:
            self.query, self.inputs = joined(attention.query), joined(attention.key, attention.value)
        else:
            self.inputs = joined(attention.query, attention.key, attention.value)
        self.output = product(filled(attention.output.used().T).T, attention.output.bias)

    def forward(
        self,
        x_AM: Tensor,
        view: View,
        *,
        keys_NM: Tensor | None = None,
        memory: Memory | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """As `Attention.forward`."""
        filled = self.crossing and memory is not None and bool(memory.buffers)
        q_AX, k_NX, v_NX = self._projected(x_AM, x_AM if keys_NM is None else keys_NM, filled)
        bias = None
        if self.positions is not None:
            at_A = view.positions
            q_AX = self.positions.rotate(q_AX, at_A)
            k_NX = self.positions.rotate(k_NX, at_A if keys_NM is None else view.keys.positions)
            bias = self.positions.bias(view)
        buffers = None if memory is None else self._extend(memory, view)
        out_AX = inference.attend(
            q_AX,
            k_NX,
            v_NX,
            view,
            buffers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            scale=self.scale,
            bias=bias,
            crossing=self.crossing,
            filled=filled,
        )
        return cast(Tensor, self.output(rows(out_AX, wanted)))

    def _projected(self, x_AM: Tensor, seen_NM: Tensor, filled: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; where a memory has keys and values, those of no tokens."""
        query, shared = self.heads * self.width, self.kv_heads * self.width
        if not self.crossing:
            return cast(tuple[Tensor, Tensor, Tensor], self.inputs(x_AM).split((query, shared, shared), 1))
        k_NX, v_NX = self.inputs(seen_NM[:0] if filled else seen_NM).split((shared, shared), 1)
        return self.query(x_AM), k_NX, v_NX

    def _extend(self, memory: Memory, view: View) -> tuple[Tensor, Tensor]:
        """A memory's buffers, grown to hold the keys of a batch: keys [B, panels, K, W, PANEL], values [B, S, K W]."""
        end = max(view.keys.lengths, default=0)
        if not memory.buffers or memory.buffers[1].shape[1] < end:
            panels, sequences = -(-max(64, 2 * end) // PANEL), len(view.keys.lengths)
            old = memory.buffers
            keys = torch.empty(sequences, panels, self.kv_heads, self.width, PANEL)
            memory.buffers = keys, torch.empty(sequences, panels * PANEL, self.kv_heads * self.width)
            for buffer, before in zip(memory.buffers, old, strict=False):
                buffer[:, : before.shape[1]] = before
        return memory.buffers[0], memory.buffers[1]
