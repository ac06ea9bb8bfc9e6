"""The linear layer, with the same bits whatever the number of threads and whatever else is in the batch.

float32 on a CPU is multiplied by compiled kernels (nlpkit/kernels/product.py), whose order of summation is fixed. Other
dtypes and devices use torch. For 16-bit and 64-bit floats on a CPU measurements show: MKL divides the rows and the
columns of a product among threads, and computes a part of 1, 2 or 3 rows, or of up to 11 columns beyond a multiple of
16, by another path than the same rows and columns inside a larger part. Whether such a part occurs depends on the
number of threads when the product is small. So a small size that is not a multiple of 16 is padded with zeros. The
usual widths are multiples, and the large products of training have many rows; where a size is odd (a classifier, a
vocabulary of 1,003) the copy costs less than the product.

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

_STEP = 16  # small sizes are padded to a multiple of this
# What counts as small: with up to 64 threads bits differed only below 172 rows and below 20 columns for each thread.
_ROWS, _COLUMNS = 256, 4096


def filled(rows: int) -> int:
    """The number of rows after padding."""
    return -(-rows // _STEP) * _STEP if rows < _ROWS else rows


def more_columns(width: int) -> int:
    """The number of columns of zeros that pad ``width`` columns."""
    return -width % _STEP if width < _COLUMNS else 0


class _Linear(torch.autograd.Function):
    """x weight^T + bias by compiled kernels."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_MD, weight_ED)
        return product.forward(x_MD, weight_ED, bias_E)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MD, weight_ED = ctx.saved_tensors
        dy_ME, (needs_dx, needs_dweight, needs_dbias) = grads[0].contiguous(), ctx.needs_input_grad
        dx_MD = product.input_gradient(dy_ME, weight_ED) if needs_dx else None
        return dx_MD, *gradients(dy_ME, x_MD, weight_ED, needs_dweight, needs_dbias)


def gradients(
    dy_ME: Tensor, x_MD: Tensor, weight_ED: Tensor, needs_dweight: bool, needs_dbias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of weight and bias by compiled kernels, where they are needed; else None."""
    if not needs_dweight and not needs_dbias:
        return None, None
    dweight_ED = pages.empty(dy_ME, *weight_ED.shape)
    dbias_E = dy_ME.new_empty(dy_ME.shape[1]) if needs_dbias else None
    product.weight_gradient(dy_ME, x_MD, dweight_ED, dbias_E)
    return dweight_ED if needs_dweight else None, dbias_E


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
    training, fused layers and inference all call it.
    """

    seams: ClassVar[frozenset[str]] = frozenset({"used"})

    def used(self) -> Tensor:
        """The effective weight [E, D]; gradients reach the parameters through it."""
        return self.weight

    def forward(self, x_MD: Tensor) -> Tensor:
        return linear(x_MD, self.used(), self.bias)

    def inference(self, product: MakeProduct) -> nn.Module:
        return product(self.used(), self.bias)
