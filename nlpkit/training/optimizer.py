"""AdamW, and the norm of the gradients, in an order that no number of threads changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nlpkit.training.distributed import like
from nlpkit.training.settings import Settings

Parameters = Mapping[str, torch.nn.Parameter]
RowNorms = Callable[[list[Tensor]], list[Tensor]]


def adamw(parameters: Parameters, settings: Settings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); weight decay on matrices only, not on biases and norms (Devlin et al. 2019,
    their code). The foreach implementation gives the same bits as the plain loop; the fused one does not, and is used
    where it is fast, on a GPU."""
    fused = torch.device(settings.device).type == "cuda"
    matrices = [value for value in parameters.values() if value.ndim >= 2]
    vectors = [value for value in parameters.values() if value.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.adam_eps,
        foreach=not fused,
        fused=fused,
    )


def row_norms(gradients: list[Tensor]) -> list[Tensor]:
    """The norm of each row of each gradient; of a vector, of each number."""
    return [torch.linalg.vector_norm(grad.flatten(1) if grad.ndim > 1 else grad[:, None], dim=1) for grad in gradients]


def gradient_norm(gradients: list[Tensor], rows: RowNorms = row_norms) -> float:
    """The Euclidean norm of all gradients together.

    torch splits the full sum of a large tensor among its threads, so its bits depend on their number. Rows are
    summed whole, each by one thread (and one process: ``rows`` knows those of the others), and the rows' sums in
    double precision by numpy, in the order of the list.
    """
    found = rows(gradients)
    values = torch.cat(found).double().cpu().numpy() if found else np.zeros(0)
    return float(np.sqrt(np.sum(values * values)))


def clip(gradients: list[Tensor], limit: float | None, rows: RowNorms = row_norms) -> float:
    """Scale the gradients so that their norm is at most ``limit``; returns the norm before (Pascanu et al. 2013)."""
    norm = gradient_norm(gradients, rows)
    if limit is not None and np.isfinite(norm) and norm > limit:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return norm


def state_tensors(optimizer: torch.optim.AdamW, parameters: Parameters) -> dict[str, Tensor]:
    """Both moments of every parameter, by its name; empty before the first update."""
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key in ("exp_avg", "exp_avg_sq"):
            if key in optimizer.state[parameter]:
                found[f"{name}.{key}"] = optimizer.state[parameter][key]
    return found


def load_state(
    optimizer: torch.optim.AdamW, parameters: Parameters, tensors: Mapping[str, np.ndarray], step: int
) -> None:
    """The way back: moments by name, after ``step`` updates."""
    for name, parameter in parameters.items():
        if f"{name}.exp_avg" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device if optimizer.defaults["fused"] else "cpu"),
                **{key: like(tensors[f"{name}.{key}"], parameter) for key in ("exp_avg", "exp_avg_sq")},
            }
