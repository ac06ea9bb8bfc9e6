"""Linear layers with int8 products, for inference only (Dettmers et al. 2022, section 2.1).

Each row of a weight has its own scale, and so has each token's vector, which is quantized at run time: x w =
(scale of x) (scale of w) (sum of integers). The sum is exact, so a token's outputs depend on the token alone: not on
threads, and not on the rest of the batch. Embeddings, norms, attention, poolers and classifiers stay in float32.

Shapes: M rows, D and E widths, V vocabulary.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from nlpkit.kernels import inference
from nlpkit.kernels.shapes import INT8_PRODUCTS

LEVELS = 127  # the largest integer


@cache
def torch_multiplies() -> bool:
    """Whether torch multiplies int8 by the CPU's int8 instructions. Without them it takes fifty times as long, or adds
    two products in int16, which saturates."""
    left = torch.tensor([[127], [-127]], dtype=torch.int8).expand(2, 64).contiguous()
    right = torch.full((64, 16), 127, dtype=torch.int8)
    return INT8_PRODUCTS and torch.equal(torch._int_mm(left, right).long(), left.long() @ right.long())


class Product(nn.Module):
    """x weight^T + bias for weights [E, D] that are quantized once."""

    whole: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight_ED: Tensor, bias_E: Tensor | None) -> None:
        super().__init__()
        most_E1 = weight_ED.detach().abs().amax(1, keepdim=True)
        scale_E1 = torch.where(most_E1 > 0, most_E1 / LEVELS, 1.0)
        self.register_buffer("whole", (weight_ED.detach() / scale_E1).round().to(torch.int8))
        self.register_buffer("scale", scale_E1[:, 0].contiguous())
        self.register_buffer("bias", torch.zeros_like(self.scale) if bias_E is None else bias_E.detach().clone())

    def forward(self, x_MD: Tensor) -> Tensor:
        """[M, E]."""
        x_MD = x_MD.contiguous()
        if inference.usable(x_MD) and (len(x_MD) == 1 or not torch_multiplies()):
            return inference.product8(x_MD, self.whole, self.scale, self.bias)
        whole_MD, scale_M = inference.rounded(x_MD) if inference.usable(x_MD) else _rounded(x_MD)
        sums_ME = torch._int_mm(whole_MD, self.whole.T)
        return inference.scaled(sums_ME, scale_M, self.scale, self.bias)


def _rounded(x_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Integers from -127 to 127, and the scale of each row."""
    most_M1 = x_MD.abs().amax(1, keepdim=True)
    scale_M1 = torch.where(most_M1 > 0, most_M1 / LEVELS, 1.0)
    return (x_MD / scale_M1).round().to(torch.int8), scale_M1[:, 0].contiguous()
