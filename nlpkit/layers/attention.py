"""Multi-head attention over packed sequences (Vaswani et al. 2017, section 3.2).

Shapes: N tokens of a batch, A wanted tokens, B sequences in a run, T queries, S keys, H heads, D head width, M model
width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from nlpkit.kernels import attention as attending
from nlpkit.kernels import cost, inference
from nlpkit.kernels.shapes import PANEL
from nlpkit.layers.brick import Brick, MakeProduct, altered
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.linear import Linear
from nlpkit.layers.packing import Packing, Run, rows

# Which keys the queries of a run may attend to: all; those up to the query itself (the queries are the last keys); or a
# tensor that broadcasts to [B, H, T, S], bool (True: may attend) or float (added to the scores, -inf: may not).
Visibility = Literal["all", "causal"] | Tensor


class Mask(Protocol):
    """The attention mask: a type, so that the meaning of True is defined only here. A model creates one for each batch,
    so a mask may hold properties of the batch (the lengths of prefixes, an order of prediction)."""

    def __call__(self, run: Run, queries: int, keys: int) -> Visibility:
        """The visibility in the sequences of ``run``. With a cache there are more keys than queries: the queries are
        the last tokens."""


class Full:
    """Every token attends to every token of its sequence."""

    def __call__(self, run: Run, queries: int, keys: int) -> Visibility:
        return "all"


class Causal:
    """Every token attends to itself and those before it."""

    def __call__(self, run: Run, queries: int, keys: int) -> Visibility:
        return "all" if queries == 1 else "causal"


class Memory:
    """Cached keys and values of one layer, in buffers that double when they are full. The attention chooses their
    layout; `extend` stores [B, H, S, D]."""

    def __init__(self) -> None:
        self.length = 0
        self.buffers: tuple[Tensor, ...] = ()

    def extend(self, *new_BHTD: Tensor) -> tuple[Tensor, ...]:
        """Append tensors [B, H, T, D]; returns all that is cached, [B, H, S, D] each."""
        end = self.length + new_BHTD[0].shape[2]
        if not self.buffers or self.buffers[0].shape[2] < end:
            old = self.buffers
            self.buffers = tuple(new.new_empty(*new.shape[:2], max(64, 2 * end), new.shape[3]) for new in new_BHTD)
            for buffer, full in zip(self.buffers, old, strict=False):
                buffer[:, :, : self.length] = full[:, :, : self.length]
        for buffer, new in zip(self.buffers, new_BHTD, strict=True):
            buffer[:, :, self.length : end] = new
        self.length = end
        return tuple(buffer[:, :, :end] for buffer in self.buffers)

    def copy(self) -> Memory:
        """A copy of the keys and values, to be extended independently."""
        other = Memory()
        other.length, other.buffers = self.length, tuple(buffer.clone() for buffer in self.buffers)
        return other


class Cache:
    """The key-value cache of a causal stack: a `Memory` for each layer. All sequences have the same length."""

    def __init__(self) -> None:
        self.layers: list[Memory] = []

    @property
    def length(self) -> int:
        """S: tokens of each sequence in the cache."""
        return self.layers[0].length if self.layers else 0

    def layer(self, number: int) -> Memory:
        """The memory of a layer; empty the first time."""
        while len(self.layers) <= number:
            self.layers.append(Memory())
        return self.layers[number]

    def copy(self) -> Cache:
        """A copy of the memories, to be extended independently."""
        other = Cache()
        other.layers = [memory.copy() for memory in self.layers]
        return other


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
) -> Tensor:
    """dropout(softmax(q k^T / sqrt(D))) v, product by product, [B, H, T, D]; ``allowed`` is a `Visibility` tensor.

    For the cases in which the bits of torch's fused kernel depend on the number of threads: fewer queries than keys, or
    dropout. In all others the fused kernel is used, which never stores all scores.
    """
    scores_BHTS = (q_BHTD * q_BHTD.shape[-1] ** -0.5) @ k_BHSD.transpose(2, 3)
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

    One kernel call for each run of equal lengths. ``dropout`` is of the attention probabilities; it makes attention
    several times slower on a CPU, so it is 0 in the presets.
    """

    def __init__(self, d_model: int, n_heads: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.query = Linear(d_model, d_model, bias=bias)
        self.key = Linear(d_model, d_model, bias=bias)
        self.value = Linear(d_model, d_model, bias=bias)
        self.output = Linear(d_model, d_model, bias=bias)
        self.n_heads, self.dropout = n_heads, Dropout(dropout)

    def forward(
        self, x_NM: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """[N, M], or [A, M] of the tokens at ``positions``. ``memory`` holds the keys and values of tokens before this
        batch; those of this batch are appended."""
        if memory is not None and len(packing.runs) != 1:
            raise ValueError("a memory holds sequences of one length")
        k_NM, v_NM = self.key(x_NM), self.value(x_NM)
        visibilities = None if memory is not None else self._visibilities(x_NM, packing, mask)
        out: Tensor
        if visibilities is not None:
            few = positions if all(isinstance(visible, str) and visible == "all" for visible in visibilities) else None
            q_AM = self.query(rows(x_NM, few))
            out_AM = attending.attend(q_AM, k_NM, v_NM, packing, visibilities, self.n_heads, few)
            out = self.output(out_AM if few is positions else rows(out_AM, positions))
            return out
        q_NM, parts = self.query(x_NM), []
        for run in packing.runs:
            q_BHTD, k_BHTD, v_BHTD = (self._heads(part_NM, run) for part_NM in (q_NM, k_NM, v_NM))
            if memory is not None:
                k_BHTD, v_BHTD = memory.extend(k_BHTD, v_BHTD)
            out_BHTD = self._attend(q_BHTD, k_BHTD, v_BHTD, mask(run, q_BHTD.shape[2], k_BHTD.shape[2]))
            parts.append(out_BHTD.transpose(1, 2).reshape(run.count * run.length, -1))
        out = self.output(rows(parts[0] if len(parts) == 1 else torch.cat(parts), positions))
        return out

    def _visibilities(self, x_NM: Tensor, packing: Packing, mask: Mask) -> list[Visibility] | None:
        """The visibility in each run, if compiled kernels compute all of it: where a gradient is required, and neither
        a subclass nor a recorder (`nlpkit.layers.watching`) replaces a method. Else None."""
        ours = torch.is_grad_enabled() and attending.usable(x_NM) and not altered(self, Attention)
        trainable = x_NM.requires_grad or any(value.requires_grad for value in self.parameters())
        if not (ours and trainable) or (self.training and self.dropout.rate):
            return None
        visibilities = [mask(run, run.length, run.length) for run in packing.runs]
        return visibilities if all(isinstance(visible, str) or _plain(visible) for visible in visibilities) else None

    def _attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, visible: Visibility) -> Tensor:
        allowed = visible.to(q_BHTD.device) if isinstance(visible, Tensor) else None
        causal = isinstance(visible, str) and visible == "causal"
        (queries, width), keys = q_BHTD.shape[2:], k_BHSD.shape[2]
        # Two products: q k^T, and weights times v.
        cost.with_backward(2 * q_BHTD.numel() * keys, q_BHTD, k_BHSD)
        cost.with_backward(2 * q_BHTD.numel() * keys, q_BHTD, v_BHSD)
        dropout = self.dropout if self.training and self.dropout.rate else None
        if dropout is not None or queries != keys:
            if causal:
                allowed = torch.ones(queries, keys, dtype=torch.bool, device=q_BHTD.device).tril(keys - queries)
            return attend(q_BHTD, k_BHSD, v_BHSD, allowed, dropout)
        rest = -width % 16  # the bits of heads of width 8 depend on the number of threads
        if rest:
            q_BHTD, k_BHSD, v_BHSD = (pad(part, (0, rest)) for part in (q_BHTD, k_BHSD, v_BHSD))
        out_BHTD = scaled_dot_product_attention(
            q_BHTD, k_BHSD, v_BHSD, attn_mask=allowed, is_causal=causal, scale=width**-0.5
        )
        return out_BHTD[..., :width] if rest else out_BHTD

    def _heads(self, x_NM: Tensor, run: Run) -> Tensor:
        """The tokens of a run, split into heads, [B, H, T, D]."""
        return x_NM[run.start : run.end].view(run.count, run.length, self.n_heads, -1).transpose(1, 2)

    def inference(self, product: MakeProduct) -> nn.Module:
        parts = (self.query, self.key, self.value, self.output)
        return self if any(altered(part, Linear) for part in parts) else Attend(self, product)


class Attend(nn.Module):
    """An `Attention` in inference: one product for query, key and value. Heads are padded with zeros, which change no
    sum, to a multiple of 8 in width."""

    def __init__(self, attention: Attention, product: MakeProduct) -> None:
        super().__init__()
        self.heads = attention.n_heads
        model = attention.query.weight.shape[0]
        width = model // self.heads
        self.scale, rest = width**-0.5, -width % 8

        def filled(part: Tensor) -> Tensor:
            """[H W, ...] with each head padded."""
            heads = part.detach().reshape(self.heads, width, -1)
            return pad(heads, (0, 0, 0, rest)).reshape(-1, *part.shape[1:])

        parts = (attention.query, attention.key, attention.value)
        biases = [part.weight.new_zeros(model) if part.bias is None else part.bias for part in parts]
        self.inputs = product(torch.cat([filled(part.used()) for part in parts]), torch.cat(list(map(filled, biases))))
        self.output = product(filled(attention.output.used().T).T, attention.output.bias)

    def forward(
        self, x_NM: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """As `Attention.forward`."""
        if memory is not None and len(packing.runs) != 1:
            raise ValueError("a memory holds sequences of one length")
        qkv = self.inputs(x_NM)
        parts = [self._run(qkv[run.start : run.end], run, mask, memory) for run in packing.runs]
        return cast(Tensor, self.output(rows(parts[0] if len(parts) == 1 else torch.cat(parts), positions)))

    def _run(self, qkv: Tensor, run: Run, mask: Mask, memory: Memory | None) -> Tensor:
        before = 0 if memory is None else memory.length
        keys = before + run.length
        buffers = None if memory is None else self._extend(memory, run, qkv.shape[1] // 3)
        visible = mask(run, run.length, keys)
        allowed = None
        if isinstance(visible, Tensor):
            added = visible.float()
            if visible.dtype == torch.bool:
                added = torch.zeros_like(added).masked_fill(~visible, -torch.inf)
            allowed = added.expand(run.count, self.heads, run.length, keys).contiguous()
        return inference.attend(
            qkv,
            buffers,
            heads=self.heads,
            scale=self.scale,
            sequences=run.count,
            before=before,
            causal=isinstance(visible, str) and visible == "causal",
            mask=allowed,
        )

    def _extend(self, memory: Memory, run: Run, model: int) -> tuple[Tensor, Tensor]:
        """A memory's buffers, grown to hold the tokens of this run as well."""
        end = memory.length + run.length
        if not memory.buffers or len(memory.buffers[1]) < end:
            panels = -(-max(64, 2 * end) // PANEL)
            old = memory.buffers
            keys = torch.empty(panels, run.count, self.heads, model // self.heads, PANEL)
            memory.buffers = keys, torch.empty(panels * PANEL, run.count, model)
            for buffer, before in zip(memory.buffers, old, strict=False):
                buffer[: len(before)] = before
        memory.length = end
        return memory.buffers[0], memory.buffers[1]
