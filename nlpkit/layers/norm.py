"""Layer normalisation whose gradients have the same bits on any number of threads.

torch splits the sums behind LayerNorm's weight and bias gradients among its threads, so their bits depend on the number
of threads. Here they are sums of row blocks in a fixed order, by a kernel that computes the input's gradient as well.
Where no kernel applies (nlpkit/kernels/pointwise.py) they are a matrix product with a row of ones, which torch computes
the same way on any number of threads.

Shapes: N tokens, D model width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nlpkit.kernels import inference
from nlpkit.kernels import pointwise as fused
from nlpkit.layers.brick import Brick, MakeProduct


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float) -> Tensor:
        out_ND, mean_N1, rstd_N1 = torch.native_layer_norm(x_ND, [x_ND.shape[-1]], weight_D, bias_D, eps)
        ctx.save_for_backward(x_ND, weight_D, bias_D, mean_N1, rstd_N1)
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_ND,) = grads
        x_ND, weight_D, bias_D, mean_N1, rstd_N1 = ctx.saved_tensors
        grad_ND = grad_ND.contiguous()
        if fused.usable(x_ND) and fused.usable(grad_ND):
            return *fused.norm_backward(grad_ND, x_ND, mean_N1, rstd_N1, weight_D), None
        dx_ND, _, _ = torch.ops.aten.native_layer_norm_backward(
            grad_ND, x_ND, [x_ND.shape[-1]], mean_N1, rstd_N1, weight_D, bias_D, [True, False, False]
        )
        ones_1N = grad_ND.new_ones(1, grad_ND.shape[0])
        normed_ND = (x_ND - mean_N1) * rstd_N1
        return dx_ND, (ones_1N @ (grad_ND * normed_ND))[0], (ones_1N @ grad_ND)[0], None


class LayerNorm(Brick):
    """Ba et al. 2016, "Layer Normalization", equation 4. Parameters ``weight`` and ``bias`` [D]."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x_ND: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x_ND.device.type):
            x_ND = x_ND.float()  # a norm in 16 bits loses too much (Micikevicius et al. 2018, section 3.3)
        if not torch.is_grad_enabled():
            return torch.native_layer_norm(x_ND, [x_ND.shape[-1]], self.weight, self.bias, self.eps)[0]
        out: Tensor = _LayerNorm.apply(x_ND, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return out

    def inference(self, product: MakeProduct) -> nn.Module:
        return Norm(self)


class Norm(nn.Module):
    """A `LayerNorm` in inference."""

    def __init__(self, norm: LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x_ND: Tensor) -> Tensor:
        if not inference.usable(x_ND):
            return torch.native_layer_norm(x_ND, [x_ND.shape[-1]], self.weight, self.bias, self.eps)[0]
        return inference.norm(x_ND, self.weight, self.bias, self.eps)
