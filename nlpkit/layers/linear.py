"""The linear layer, with the same bits whatever the number of threads and whatever else is in the batch.

32-bit numbers on a processor are multiplied by kernels of our own (nlpkit/kernels/product.py), which promise that by
how they are written. Elsewhere torch is asked. Of a processor's other numbers (half of the bits, double ones) it is
measured: MKL divides the rows and the columns of a product among threads, and computes a part of 1, 2 or 3 rows, or of
up to 11 columns beyond a multiple of 16, by another path than the same rows and columns inside a larger part. Whether
there is such a part depends on the number of threads, as long as the product is small beside it. So a size that is
small and not a multiple of 16 is filled up with zeros. The usual widths are multiples, and nothing that takes time has
few rows in training; where a size is odd (a classifier, a vocabulary of 1,003) the copy costs less than the product.

Shapes: M rows, D and E widths.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nlpkit.kernels import cost, product
from nlpkit.layers.brick import Brick, MakeProduct
from nlpkit.machine import pages

_STEP = 16  # small sizes are a multiple of this
# What is small: up to 64 threads were tried, and found to matter below 172 rows and below 20 columns a thread.
_ROWS, _COLUMNS = 256, 4096


def filled(rows: int) -> int:
    """How many rows a product of ``rows`` rows is computed with."""
    return -(-rows // _STEP) * _STEP if rows < _ROWS else rows


def more_columns(width: int) -> int:
    """How many columns of zeros are added to ``width`` columns."""
    return -width % _STEP if width < _COLUMNS else 0


class _Linear(torch.autograd.Function):
    """By kernels."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_MD, weight_ED)
        return product.forward(x_MD, weight_ED, bias_E)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MD, weight_ED = ctx.saved_tensors
        dy_ME, (asked, weighed, biased) = grads[0].contiguous(), ctx.needs_input_grad
        dx_MD = product.input_gradient(dy_ME, weight_ED) if asked else None
        return dx_MD, *gradients(dy_ME, x_MD, weight_ED, weighed, biased)


def gradients(
    dy_ME: Tensor, x_MD: Tensor, weight_ED: Tensor, weighed: bool, biased: bool
) -> tuple[Tensor | None, Tensor | None]:
    """By kernels, those of the weight and the bias that are asked for."""
    if not weighed and not biased:
        return None, None
    dweight_ED = pages.empty(dy_ME, *weight_ED.shape)
    dbias_E = dy_ME.new_empty(dy_ME.shape[1]) if biased else None
    product.weight_gradient(dy_ME, x_MD, dweight_ED, dbias_E)
    return dweight_ED if weighed else None, dbias_E


def linear(x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
    """x weight^T + bias, [M, E]."""
    if product.usable(x_MD, weight_ED, bias_E):
        if torch.is_grad_enabled():
            out: Tensor = _Linear.apply(x_MD, weight_ED, bias_E)  # type: ignore[no-untyped-call]
            return out
        return product.forward(x_MD, weight_ED, bias_E)
    rows, (columns, width) = x_MD.shape[0], weight_ED.shape
    cost.with_backward(2 * rows * columns * width, x_MD, weight_ED)
    rest_M, rest_E, rest_D = filled(rows) - rows, more_columns(columns), more_columns(width)
    if rest_E or rest_D:
        weight_ED = pad(weight_ED, (0, rest_D, 0, rest_E))
        bias_E = None if bias_E is None else pad(bias_E, (0, rest_E))
    if rest_M or rest_D:
        x_MD = pad(x_MD, (0, rest_D, 0, rest_M))
    out_ME = nn.functional.linear(x_MD, weight_ED, bias_E)
    return out_ME[:rows, :columns] if rest_M or rest_E else out_ME


class Linear(nn.Linear, Brick):
    """`linear` with its own ``weight`` [E, D] and ``bias`` [E] or None.

    A subclass that multiplies with something else (weights times a mask, weights plus an adapter's) overrides `used`;
    training, fused layers and inference all ask it.
    """

    seams: ClassVar[frozenset[str]] = frozenset({"used"})

    def used(self) -> Tensor:
        """What x is multiplied with, [E, D]; gradients reach the parameters through it."""
        return self.weight

    def forward(self, x_MD: Tensor) -> Tensor:
        return linear(x_MD, self.used(), self.bias)

    def answering(self, product: MakeProduct) -> nn.Module:
        return product(self.used(), self.bias)
