"""A model that only answers: its bricks replaced by ones that compute with the kernels of nlpkit/kernels/answer.py.

Promise: a token's numbers have the same bits whatever else is in the batch, on any number of threads, and whether the
tokens before it were read with it or earlier. What the families are made of is replaced, so that none has to know.

Shapes: N tokens, M rows, D, E widths, P columns of panels, H heads, W width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nlpkit.kernels import answer
from nlpkit.kernels.shapes import PANEL
from nlpkit.layers import feedforward
from nlpkit.layers.attention import Attention, Mask, Memory
from nlpkit.layers.cross_entropy import CHUNK, chunk_losses
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.packing import Packing, Run, rows

MakeProduct = Callable[[Tensor, Tensor | None], nn.Module]


class Product(nn.Module):
    """x weight^T + bias for weights [E, D], which it keeps in panels."""

    panels: Tensor
    bias: Tensor

    def __init__(self, weight_ED: Tensor, bias_E: Tensor | None) -> None:
        super().__init__()
        self.columns = len(weight_ED)
        self.register_buffer("panels", answer.panels(weight_ED))
        bias_P = self.panels.new_zeros(len(self.panels) * PANEL)
        if bias_E is not None:
            bias_P[: self.columns] = bias_E.detach()
        self.register_buffer("bias", bias_P)

    def forward(self, x_MD: Tensor) -> Tensor:
        """[M, E]."""
        out_MP = answer.product(x_MD, self.panels, self.bias)
        return out_MP if out_MP.shape[1] == self.columns else out_MP[:, : self.columns]


class Norm(nn.Module):
    """A `LayerNorm` that only answers."""

    def __init__(self, norm: LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x_ND: Tensor) -> Tensor:
        if not answer.usable(x_ND):
            return torch.native_layer_norm(x_ND, [x_ND.shape[-1]], self.weight, self.bias, self.eps)[0]
        return answer.norm(x_ND, self.weight, self.bias, self.eps)


def gelu(x_ND: Tensor) -> Tensor:
    """As `feedforward.gelu`; x may be overwritten."""
    return answer.gelu(x_ND, tanh=False) if answer.usable(x_ND) else feedforward.gelu(x_ND)


def gelu_tanh(x_ND: Tensor) -> Tensor:
    """As `feedforward.gelu_tanh`; x may be overwritten."""
    return answer.gelu(x_ND, tanh=True) if answer.usable(x_ND) else feedforward.gelu_tanh(x_ND)


_QUICK = {feedforward.gelu: gelu, feedforward.gelu_tanh: gelu_tanh}


class Attend(nn.Module):
    """An `Attention` that only answers: one product for query, key and value. Heads are filled up to a multiple of 8
    numbers with zeros, which change no sum."""

    def __init__(self, attention: Attention, product: MakeProduct) -> None:
        super().__init__()
        self.heads = attention.n_heads
        model = attention.query.weight.shape[0]
        width = model // self.heads
        self.scale, rest = width**-0.5, -width % 8

        def filled(part: Tensor) -> Tensor:
            """[H W, ...] with each head filled up."""
            heads = part.detach().reshape(self.heads, width, -1)
            return pad(heads, (0, 0, 0, rest)).reshape(-1, *part.shape[1:])

        parts = (attention.query, attention.key, attention.value)
        self.inputs = product(torch.cat([filled(part.weight) for part in parts]),
                              torch.cat([filled(part.bias) for part in parts]))  # fmt: skip
        self.output = product(filled(attention.output.weight.T).T, attention.output.bias)

    def forward(
        self, x_NM: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, places: Tensor | None = None
    ) -> Tensor:
        """As `Attention.forward`."""
        if memory is not None and len(packing.runs) != 1:
            raise ValueError("a memory holds sequences of one length")
        qkv = self.inputs(x_NM)
        parts = [self._run(qkv[run.start : run.end], run, mask, memory) for run in packing.runs]
        return cast(Tensor, self.output(rows(parts[0] if len(parts) == 1 else torch.cat(parts), places)))

    def _run(self, qkv: Tensor, run: Run, mask: Mask, memory: Memory | None) -> Tensor:
        before = 0 if memory is None else memory.length
        keys = before + run.length
        kept = None if memory is None else self._room(memory, run, qkv.shape[1] // 3)
        sight = mask(run, run.length, keys)
        allowed = None
        if isinstance(sight, Tensor):
            added = sight.float()
            if sight.dtype == torch.bool:
                added = torch.zeros_like(added).masked_fill(~sight, -torch.inf)
            allowed = added.expand(run.count, self.heads, run.length, keys).contiguous()
        return answer.attend(
            qkv, kept, heads=self.heads, scale=self.scale, sequences=run.count, before=before,
            causal=isinstance(sight, str) and sight == "causal", mask=allowed,
        )  # fmt: skip

    def _room(self, memory: Memory, run: Run, model: int) -> tuple[Tensor, Tensor]:
        """A memory's buffers with room for what is read now."""
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


class Vocabulary(nn.Module):
    """A `VocabularyHead` that only answers. Its product is made when it is first asked: vectors need none."""

    def __init__(self, head: VocabularyHead, product: MakeProduct) -> None:
        super().__init__()
        self.transform = head.transform
        self._head, self._make = [head], product  # in a list, so that torch does not register it

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits [M, V]."""
        if "product" not in self._modules:
            self.product = self._make(self._head[0].weight, self._head[0].bias)
        return cast(Tensor, self.product(hidden_MD if self.transform is None else self.transform(hidden_MD)))

    def token_losses(self, hidden_MD: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        """As `VocabularyHead.token_losses`."""
        return chunk_losses(self, hidden_MD, target_M, CHUNK)


@torch.no_grad()
def prepare(model: nn.Module, product: MakeProduct = Product) -> None:
    """Replace what a model's blocks and vocabulary heads are made of, in place; linear layers become ``product``.

    Embeddings, poolers and classifiers stay as they are: they are small."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, VocabularyHead):
                module._modules[name] = Vocabulary(part, product)
            elif isinstance(part, Attention):
                module._modules[name] = Attend(part, product)
            elif isinstance(part, LayerNorm):
                module._modules[name] = Norm(part)
        used: Any = getattr(module, "activation", None)
        if used in _QUICK:
            setattr(module, "activation", _QUICK[used])  # noqa: B010 - a module's attributes have no other type
    for place, module in list(model.named_modules()):
        if ".layers." in place or ".transform" in place:
            for name, part in list(module.named_children()):
                if isinstance(part, Linear):
                    module._modules[name] = product(part.weight, part.bias)
