"""One block of a transformer: attention and feed-forward, each with a residual and a norm.

Where the norm stands is which block is used: `PostNorm` (Vaswani et al. 2017, BERT) or `PreNorm` (GPT-2). Their
tensors have the same names, so that distilling and comparing work on names.

Shapes: N tokens, A of them that are wanted, D model width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nlpkit.base.errors import UserError
from nlpkit.layers.attention import Cache, Mask, Memory
from nlpkit.layers.brick import Brick
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.packing import Packing, rows


class Block(Brick):
    """The parts; a subclass says in which order they are used. ``attention`` is called as `Attention` is; a family may
    mix its tokens by something else."""

    def __init__(
        self,
        attention: nn.Module,
        feedforward: nn.Module,
        *,
        attention_norm: nn.Module,
        feedforward_norm: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.attention_norm = attention, attention_norm
        self.feedforward, self.feedforward_norm = feedforward, feedforward_norm
        self.dropout = Dropout(dropout)

    @abstractmethod
    def forward(
        self, x_ND: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, places: Tensor | None = None
    ) -> Tensor:
        """The block's output for every token, or [A, D] for those at ``places`` [A], which still see all."""


class PostNorm(Block):
    """norm(x + dropout(part(x))), twice."""

    def forward(
        self, x_ND: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, places: Tensor | None = None
    ) -> Tensor:
        attended = self.dropout(self.attention(x_ND, packing, mask, memory, places))
        x_ND = self.attention_norm(rows(x_ND, places) + attended)
        out_ND: Tensor = self.feedforward_norm(x_ND + self.dropout(self.feedforward(x_ND)))
        return out_ND


class PreNorm(Block):
    """x + dropout(part(norm(x))), twice."""

    def forward(
        self, x_ND: Tensor, packing: Packing, mask: Mask, memory: Memory | None = None, places: Tensor | None = None
    ) -> Tensor:
        attended = self.dropout(self.attention(self.attention_norm(x_ND), packing, mask, memory, places))
        x_ND = rows(x_ND, places) + attended
        out_ND: Tensor = x_ND + self.dropout(self.feedforward(self.feedforward_norm(x_ND)))
        return out_ND


class Stack(Brick):
    """Blocks one after the other, and a last norm where the family has one.

    ``order`` says which block computes each layer, where one is used for several (Lan et al. 2020, "ALBERT", section
    3.1: ``(0,) * 12``): its weights are one set of tensors, named by the block, in files and for the optimizer, and its
    gradients add. What is kept of a layer, a cache's keys and values and the outputs, goes by the layer.

    With ``checkpointing`` only the input of a block is kept for the backward, which computes the block again, with the
    same dropout and so the same bits (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 3).
    """

    checkpointing = False

    def __init__(
        self, blocks: Sequence[nn.Module], norm: nn.Module | None = None, *, order: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.order = tuple(range(len(blocks)) if order is None else order)
        self.norm = norm
        if set(self.order) != set(range(len(blocks))):
            raise ValueError(f"the order {self.order} does not use each of {len(blocks)} blocks")

    def forward(
        self,
        x_ND: Tensor,
        packing: Packing,
        mask: Mask,
        *,
        keep: bool = False,
        cache: Cache | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, of every token or of those at ``places``, and with ``keep`` the input and each block's output
        (before the last norm)."""
        kept = [x_ND] if keep else []
        for number, which in enumerate(self.order):
            block, asked = self.layers[which], places if number == len(self.order) - 1 else None
            again = self.checkpointing and cache is None and torch.is_grad_enabled()
            if again and (x_ND.requires_grad or _learns(block)):
                x_ND = checkpoint(block, x_ND, packing, mask, None, asked, use_reentrant=False)
            else:
                x_ND = block(x_ND, packing, mask, None if cache is None else cache.layer(number), asked)
            if keep:
                kept.append(x_ND)
        return (x_ND if self.norm is None else self.norm(x_ND)), tuple(kept)


def _learns(block: nn.Module) -> bool:
    """Whether any of its weights does; of frozen blocks nothing is kept anyway."""
    return any(value.requires_grad for value in block.parameters())


def stacks(model: nn.Module) -> list[Stack]:
    """The stacks of a model: by them its layers are found, to be frozen, computed again or copied."""
    return [module for module in model.modules() if isinstance(module, Stack)]


def use_checkpointing(model: nn.Module, on: bool) -> None:
    """Let every `Stack` of a model compute its blocks again in the backward, or not. Errors: a model without one."""
    found = stacks(model)
    if on and not found:
        raise UserError(
            "checkpointing computes blocks again, and this model's family has no stack of blocks",
            hint="leave out --checkpointing",
        )
    for stack in found:
        stack.checkpointing = on
