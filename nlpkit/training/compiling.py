"""torch.compile, for GPUs: what lies between the products of a block becomes one kernel each.

Compiled are the parts that work token by token, feed-forward layers and norms, once for all layers and any number of
tokens. Attention is torch's fused one already. On a CPU nlpkit's kernels do the same (nlpkit/kernels), so the option is
refused there. Fused kernels round differently, so the option is recorded and counts as one that changes bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nlpkit.base.errors import UserError
from nlpkit.kernels import cost
from nlpkit.layers.feedforward import FeedForward
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm


def check_compile(requested: bool, device: str) -> None:
    """Errors: UserError on a CPU."""
    if requested and torch.device(device).type == "cpu":
        raise UserError(
            "compile is for GPUs: on a CPU nlpkit computes with its own compiled kernels",
            hint="leave out --compile, or give --device cuda",
        )


def compile_parts(model: nn.Module, backend: str = "inductor") -> None:
    """Compile a model's parts in place, when each is first used; its tensors and their names stay."""
    for part in model.modules():
        if isinstance(part, (FeedForward, LayerNorm)):
            part.compile(backend=backend, dynamic=True)
            part._compiled_call_impl = _counting(part)


def _counting(part: nn.Module) -> Callable[[Tensor], Tensor]:
    """A compiled part whose products are counted when it is called."""
    compiled = part._compiled_call_impl
    assert compiled is not None
    weights = [module.weight for module in part.modules() if isinstance(module, Linear)]

    def call(x_ND: Tensor) -> Tensor:
        factor = x_ND
        for weight in weights:
            cost.with_backward(2 * len(x_ND) * weight.numel(), factor, weight)
            factor = factor if factor.requires_grad else weight  # stands for the product: does it need a gradient?
        out: Tensor = compiled(x_ND)
        return out

    return call
