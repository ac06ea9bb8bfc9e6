"""torch.compile, for GPUs: what lies between the products of a block becomes one kernel each.

Compiled are the parts that work token by token, feed-forward layers and norms, once for all layers and any number of
tokens. Attention is torch's fused one already. On a processor kernels of nlpkit's own do the same (nlpkit/layers), so
it is refused there. Fused kernels round otherwise, so the option is recorded and is no *how*.
"""

from __future__ import annotations

import torch
from torch import nn

from nlpkit.base.errors import UserError
from nlpkit.layers.feedforward import FeedForward
from nlpkit.layers.norm import LayerNorm


def check_compile(asked: bool, device: str) -> None:
    """Errors: a processor."""
    if asked and torch.device(device).type == "cpu":
        raise UserError("compile is for GPUs: on a processor nlpkit computes with kernels of its own",
                        hint="leave it out, or give --device cuda")  # fmt: skip


def compile_parts(model: nn.Module, backend: str = "inductor") -> None:
    """Compile a model's parts in place, when each is first used; its tensors and their names stay."""
    for part in model.modules():
        if isinstance(part, (FeedForward, LayerNorm)):
            part.compile(backend=backend, dynamic=True)
