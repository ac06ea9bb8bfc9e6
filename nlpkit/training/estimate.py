"""What a run will cost, before it is begun: parameters, memory, time. For ``--dry-run``."""

from __future__ import annotations

import time
from typing import Any

import torch

from nlpkit.data.order import Epochs
from nlpkit.models.base import Model
from nlpkit.training.settings import Settings


def parameters(model: torch.nn.Module) -> int:
    """Trainable numbers; tied weights count once."""
    return sum(value.numel() for value in model.parameters())


def cost(model: Model, data: Epochs, settings: Settings, *, share: float) -> dict[str, Any]:
    """Estimates of a training run; ``share`` of the positions reach the vocabulary projection.

    Memory: weights, gradients and two moments (16 bytes a parameter), and for each token of a batch what a block keeps
    for its backward (about 14 d_model + 3 d_ff numbers of 4 bytes a layer). Time: 6 floating-point operations a
    weight and token (Kaplan et al. 2020, section 2.1) plus attention, at three quarters of this machine's speed in a
    matrix product, which is measured now.
    """
    config = model.config
    count = parameters(model)
    tokens = int(data.lengths.sum())
    batches = max(1, data.count(1))
    step_tokens = tokens / batches * settings.accumulate
    blocks = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.d_ff)
    length = float((data.lengths**2).sum()) / max(1, tokens)
    attention = config.n_layers * 2 * length * config.d_model
    head = share * config.vocab_size * config.d_model
    operations = 6 * (blocks + attention + head) * step_tokens
    activation = tokens / batches * config.n_layers * (14 * config.d_model + 3 * config.d_ff) * 4
    logits = min(tokens / batches * share, 1024) * config.vocab_size * 4 * 2
    speed = matrix_speed() * 0.75
    return {
        "parameters": count,
        "steps": settings.steps,
        "sequences": len(data.lengths),
        "tokens_per_epoch": tokens,
        "tokens_per_step": round(step_tokens),
        "memory_bytes": round(16 * count + activation + logits),
        "seconds": round(operations * settings.steps / speed, 3),
    }


def matrix_speed(size: int = 1024) -> float:
    """Floating-point operations per second of a matrix product, the better of three."""
    left = torch.ones(size, size)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(left, left)
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times))
