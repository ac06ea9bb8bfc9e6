"""One block of a transformer: attention and feed-forward, each with a residual and a norm.

The position of the norms is the choice of block: `PostNorm` (Vaswani et al. 2017, BERT) or `PreNorm` (GPT-2). Their
tensors have the same names, so that distillation and comparison can match them by name.

Shapes: N tokens, A wanted tokens, D model width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nlpkit.base.errors import UserError
from nlpkit.layers.brick import Brick
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.packing import rows
from nlpkit.layers.state import Cache, Memory
from nlpkit.layers.view import View


class Block(Brick):
    """The parts of a block; a subclass defines their order. ``attention`` is any module with the signature of
    `Attention.forward`."""

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
    def forward(self, x_ND: Tensor, view: View, memory: Memory | None = None, wanted: Tensor | None = None) -> Tensor:
        """The block's output for every token, or [A, D] for those at ``wanted`` [A], which still attend to all."""


class PostNorm(Block):
    """norm(x + dropout(part(x))), twice."""

    def forward(self, x_ND: Tensor, view: View, memory: Memory | None = None, wanted: Tensor | None = None) -> Tensor:
        attended = self.dropout(self.attention(x_ND, view, memory=memory, wanted=wanted))
        x_ND = self.attention_norm(rows(x_ND, wanted) + attended)
        out_ND: Tensor = self.feedforward_norm(x_ND + self.dropout(self.feedforward(x_ND)))
        return out_ND


class PreNorm(Block):
    """x + dropout(part(norm(x))), twice."""

    def forward(self, x_ND: Tensor, view: View, memory: Memory | None = None, wanted: Tensor | None = None) -> Tensor:
        attended = self.dropout(self.attention(self.attention_norm(x_ND), view, memory=memory, wanted=wanted))
        x_ND = rows(x_ND, wanted) + attended
        out_ND: Tensor = x_ND + self.dropout(self.feedforward(self.feedforward_norm(x_ND)))
        return out_ND


class Stack(Brick):
    """A sequence of blocks, and a final norm where the family has one.

    ``order`` lists the block that computes each layer, where layers share weights (Lan et al. 2020, "ALBERT", section
    3.1: ``(0,) * 12``): a block's weights are one set of tensors, named by the block, in files and for the optimizer,
    and its gradients add up. A cache and the outputs have one entry for each layer.

    With ``checkpointing`` only the input of a block is saved for the backward, which recomputes the block with the same
    dropout and so the same bits (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 3).
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
        view: View,
        *,
        keep: bool = False,
        cache: Cache | None = None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, of every token or of those at ``wanted``, and with ``keep`` the input and each layer's output
        (before the final norm). A ``cache`` has read the batch afterwards."""
        outputs = [x_ND] if keep else []
        for number, which in enumerate(self.order):
            block, of_block = self.layers[which], wanted if number == len(self.order) - 1 else None
            recompute = self.checkpointing and cache is None and torch.is_grad_enabled()
            if recompute and (x_ND.requires_grad or _trainable(block)):
                x_ND = checkpoint(block, x_ND, view, None, of_block, use_reentrant=False)
            else:
                x_ND = block(x_ND, view, None if cache is None else cache.layer(number), of_block)
            if keep:
                outputs.append(x_ND)
        if cache is not None:
            cache.lengths = tuple(view.keys.lengths)
        return (x_ND if self.norm is None else self.norm(x_ND)), tuple(outputs)


def _trainable(block: nn.Module) -> bool:
    """Whether any weight requires a gradient; a frozen block saves nothing for the backward anyway."""
    return any(value.requires_grad for value in block.parameters())


def stacks(model: nn.Module) -> list[Stack]:
    """The stacks of a model; freezing, checkpointing and copying of layers start from them."""
    return [module for module in model.modules() if isinstance(module, Stack)]


def use_checkpointing(model: nn.Module, on: bool) -> None:
    """Let every `Stack` of a model recompute its blocks in the backward, or not. Errors: a model without one."""
    model_stacks = stacks(model)
    if on and not model_stacks:
        raise UserError(
            "checkpointing recomputes blocks, and this model's family has no stack of blocks",
            hint="leave out --checkpointing",
        )
    for stack in model_stacks:
        stack.checkpointing = on
