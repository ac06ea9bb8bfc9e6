"""How large a model is, and how fast a CPU multiplies: for reports during a run. nlpkit/stages/plan.py estimates the
cost of a run before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters; tied weights count once."""
    return sum(value.numel() for value in model.parameters())


def matrix_speed(size: int = 1024, clock: Callable[[], float] = time.perf_counter) -> float:
    """Floating-point operations per second of a product of two ``size`` x ``size`` matrices, the best of four."""
    left = torch.ones(size, size)
    times = []
    for _ in range(4):
        start = clock()
        torch.mm(left, left)
        times.append(clock() - start)
    return float(2 * size**3 / min(times))
