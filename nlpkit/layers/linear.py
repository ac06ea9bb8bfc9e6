"""The linear layer, with the same bits whatever the number of threads and whatever else is in the batch.

Measured (tests/layers/test_linear.py): MKL computes a row of a product the same way in a product of any number of rows
from 4 on; with 1, 2 or 3 rows it takes another path, and with 5, 6, 7, 9, 10 or 11 rows (or columns) two threads divide
them into parts of which one is that small. So a small product is filled up with rows and columns of zeros. Nothing that
matters is that small in training, where it costs nothing; the classifier of a batch of six texts is.

Shapes: M rows, D and E widths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_STEP = 16  # rows and columns of a small product are a multiple of this
_SMALL = 64  # a product of fewer rows is small


def filled(rows: int) -> int:
    """How many rows a product of ``rows`` rows is computed with."""
    return -(-rows // _STEP) * _STEP if rows < _SMALL else rows


def linear(x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None, *, quick: bool = False) -> Tensor:
    """x weight^T + bias, [M, E]. With ``quick`` one row without gradients, which is a step of generation, is multiplied
    as it is: two to four times faster, and other last bits than the same row among others."""
    if quick and x_MD.shape[0] == 1 and not torch.is_grad_enabled():
        return nn.functional.linear(x_MD, weight_ED, bias_E)
    rows, columns = x_MD.shape[0], weight_ED.shape[0]
    more_rows, more_columns = filled(rows) - rows, max(0, _STEP - columns)
    if more_columns:
        weight_ED = pad(weight_ED, (0, 0, 0, more_columns))
        bias_E = None if bias_E is None else pad(bias_E, (0, more_columns))
    if more_rows:
        x_MD = pad(x_MD, (0, 0, 0, more_rows))
    out_ME = nn.functional.linear(x_MD, weight_ED, bias_E)
    return out_ME[:rows, :columns] if more_rows or more_columns else out_ME


class Linear(nn.Linear):
    """`linear` with its own ``weight`` [E, D] and ``bias`` [E], quick."""

    def forward(self, x_MD: Tensor) -> Tensor:
        return linear(x_MD, self.weight, self.bias, quick=True)
