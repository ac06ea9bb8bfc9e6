"""The norm of the gradients, in an order that no number of threads or processes changes, and clipping by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Parameters = Mapping[str, torch.nn.Parameter]
RowNorms = Callable[[list[Tensor]], list[Tensor]]


def row_norms(gradients: list[Tensor]) -> list[Tensor]:
    """The norm of each row of each gradient; of a vector, of each element. A gradient has the strides of its weight,
    which may be transposed, and torch would sum a strided row in another order."""
    contiguous = [grad.contiguous() for grad in gradients]
    return [torch.linalg.vector_norm(grad.flatten(1) if grad.ndim > 1 else grad[:, None], dim=1) for grad in contiguous]


def gradient_norm(gradients: list[Tensor], rows: RowNorms = row_norms) -> float:
    """The Euclidean norm of all gradients together.

    torch splits the full sum of a large tensor among its threads, so its bits depend on their number. Rows are
    summed whole, each by one thread (and one process: ``rows`` knows those of the others), and the rows' sums in
    double precision by numpy, in the order of the list.
    """
    norms = rows(gradients)
    values = torch.cat(norms).double().cpu().numpy() if norms else np.zeros(0)
    return float(np.sqrt(np.sum(values * values)))


def clip(gradients: list[Tensor], limit: float | None, rows: RowNorms = row_norms) -> float:
    """Scale the gradients so that their norm is at most ``limit``; returns the norm before (Pascanu et al. 2013)."""
    norm = gradient_norm(gradients, rows)
    if limit is not None and np.isfinite(norm) and norm > limit:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return norm
