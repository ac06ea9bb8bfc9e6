"""The position-wise feed-forward network (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from nlpkit.base.errors import choose
from nlpkit.kernels import inference, product
from nlpkit.kernels import pointwise as fused
from nlpkit.layers.brick import Brick, MakeProduct, altered, replace_parts
from nlpkit.layers.linear import Linear, gradients
from nlpkit.machine.kernel import LANES

Activation = Callable[[Tensor], Tensor]

_SCALE, _CUBIC = 0.7978845608028654, 0.044715  # sqrt(2 / pi), and the approximation's fitted constant


class _Gelu(torch.autograd.Function):
    """By a kernel that computes value and derivative together: both need the same exponential."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tanh: bool) -> Tensor:
        derivative = x.clone(memory_format=torch.contiguous_format)
        out = fused.gelu_(derivative, tanh)
        ctx.save_for_backward(derivative)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (derivative,) = ctx.saved_tensors
        return derivative * grads[0], None


def _inner_tanh(x: Tensor) -> Tensor:
    return x.square().mul_(_CUBIC * _SCALE).add_(_SCALE).mul_(x).tanh_()


class _GeluTanh(torch.autograd.Function):
    """Written with tanh, products and sums: torch's kernel for this function (and for SiLU and sigmoid) rounds the last
    few elements of each thread's chunk differently, so its bits depend on the number of threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        tanh = _inner_tanh(x)
        ctx.save_for_backward(x, tanh)
        return tanh.add(1).mul_(x).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, tanh = ctx.saved_tensors
        inner = x.square().mul_(3 * _CUBIC * _SCALE).add_(_SCALE).mul_(x)  # x times the derivative inside tanh
        out: Tensor = tanh.square().neg_().add_(1).mul_(inner).add_(tanh).add_(1).mul_(0.5)
        return out.mul_(grads[0])


def gelu(x: Tensor) -> Tensor:
    """x Phi(x) (Hendrycks and Gimpel 2016, section 2)."""
    if x.requires_grad and torch.is_grad_enabled() and fused.usable(x):
        out: Tensor = _Gelu.apply(x, False)  # type: ignore[no-untyped-call]
        return out
    return torch.nn.functional.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU (Hendrycks and Gimpel 2016, section 2), as GPT-2 uses it."""
    if x.requires_grad and torch.is_grad_enabled() and fused.usable(x):
        by_kernel: Tensor = _Gelu.apply(x, True)  # type: ignore[no-untyped-call]
        return by_kernel
    if not torch.is_grad_enabled():
        return _inner_tanh(x).add_(1).mul_(x).mul_(0.5)
    out: Tensor = _GeluTanh.apply(x)  # type: ignore[no-untyped-call]
    return out


ACTIVATIONS: dict[str, Activation] = {"gelu": gelu, "gelu-tanh": gelu_tanh, "relu": relu}


def activation(name: str) -> Activation:
    """An activation by name. Errors: an unknown name lists the valid ones."""
    return choose(ACTIVATIONS, name, field="activation")


def _inference_gelu(x_ND: Tensor) -> Tensor:
    return inference.gelu(x_ND, tanh=False) if inference.usable(x_ND) else gelu(x_ND)


def _inference_gelu_tanh(x_ND: Tensor) -> Tensor:
    return inference.gelu(x_ND, tanh=True) if inference.usable(x_ND) else gelu_tanh(x_ND)


def overwriting(function: Activation) -> Activation:
    """The inference version of an activation, without gradients: it may overwrite its argument, which is not used
    again."""
    quick: dict[Activation, Activation] = {gelu: _inference_gelu, gelu_tanh: _inference_gelu_tanh}
    return quick.get(function, function)


class _FeedForward(torch.autograd.Function):
    """The whole network by kernels. Of the tensors [N, F] only the activation and its derivative are saved; the
    derivative overwrites the input of the activation, and the gradient is multiplied in place."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, up_FD: Tensor, up_F: Tensor | None, down_DF: Tensor, down_D: Tensor | None, tanh: bool
    ) -> Tensor:
        derivative_NF = product.forward(x_ND, up_FD, up_F)
        act_NF = fused.gelu_(derivative_NF, tanh)
        ctx.save_for_backward(x_ND, up_FD, down_DF, act_NF, derivative_NF)
        return product.forward(act_NF, down_DF, down_D)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, up_FD, down_DF, act_NF, derivative_NF = ctx.saved_tensors
        dx, dup_FD, dup_F, ddown_DF, ddown_D = ctx.needs_input_grad[:5]
        grad_ND = grads[0].contiguous()
        down = gradients(grad_ND, act_NF, down_DF, ddown_DF, ddown_D)
        dact_NF = product.input_gradient(grad_ND, down_DF).mul_(derivative_NF)
        up = gradients(dact_NF, x_ND, up_FD, dup_FD, dup_F)
        return product.input_gradient(dact_NF, up_FD) if dx else None, *up, *down, None


class FeedForward(Brick):
    """``down(activation(up(x)))``."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation, *, bias: bool = True) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, d_model, bias=bias)
        self.activation = activation

    def forward(self, x_ND: Tensor) -> Tensor:
        up, down = self.up, self.down
        out: Tensor
        if self._by_kernels(x_ND):
            tanh = self.activation is gelu_tanh
            out = _FeedForward.apply(x_ND, up.used(), up.bias, down.used(), down.bias, tanh)  # type: ignore[no-untyped-call]
        else:
            out = down(self.activation(up(x_ND)))
        return out

    def inference(self, product: MakeProduct) -> nn.Module:
        up = self.up
        replace_parts(self, product)
        if self.up is not up:  # only the activation reads the product's output
            self.activation = overwriting(self.activation)
        return self

    def _by_kernels(self, x_ND: Tensor) -> bool:
        """Whether kernels compute all of it: gradients are enabled, and both linear layers are unaltered."""
        parts = (self.up, self.down)
        return (
            torch.is_grad_enabled()
            and self.activation in (gelu, gelu_tanh)
            and product.usable(x_ND)  # first: torch.compile reads no further, and cannot keep what `altered` has cached
            and not any(altered(part, Linear) for part in parts)
            and product.usable(*[value for part in parts for value in (part.weight, part.bias)])
            and self.up.out_features % LANES == 0
        )
