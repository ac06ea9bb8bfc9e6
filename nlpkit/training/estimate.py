"""What a run will cost, before it is begun: parameters, memory, time. For ``--dry-run``."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nlpkit.data.order import Epochs
from nlpkit.layers.heads import VocabularyHead
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective
from nlpkit.training.settings import Settings
from nlpkit.world import world


def parameters(model: torch.nn.Module) -> int:
    """Trainable numbers; tied weights count once."""
    return sum(value.numel() for value in model.parameters())


def cost(
    model: Model, data: Epochs, settings: Settings, *, share: float, teacher: Model | None = None
) -> dict[str, Any]:
    """Estimates of a training run; ``share`` of the positions reach the vocabulary projection. A ``teacher`` costs its
    weights, and a third of what training it would: it only answers.

    Memory, of one process with the whole model: weights, gradients and two moments (16 bytes a parameter; 4 more for
    each doubling of the parts in which a batch is computed, or 8 where several processes exchange them), and for each
    token of a part what a block keeps for its backward (about 14 d_model + 3 d_ff numbers of 4 bytes a layer). Time: 6
    floating-point operations a weight and token (Kaplan et al. 2020, section 2.1) plus attention, at three quarters of
    this machine's speed in a matrix product, which is measured now; processes share it.
    """
    config = model.config
    count = parameters(model)
    tokens = int(data.lengths.sum())
    batches = max(1, data.count(1))
    step_tokens = tokens / batches
    length = float((data.lengths**2).sum()) / max(1, tokens)
    operations = 6 * weights_at_work(model, length, share) * step_tokens
    if teacher is not None:
        operations += 2 * weights_at_work(teacher, length, share) * step_tokens
    part_tokens, size = step_tokens / data.accumulate / settings.parts, world().size
    held = 16 + (8 if size > 1 else 4 * math.ceil(math.log2(settings.parts)))
    activation = part_tokens * config.n_layers * (14 * config.d_model + 3 * config.d_ff) * 4
    logits = min(part_tokens * share, 1024) * config.vocab_size * 4 * 2
    idle = 0 if teacher is None else 4 * parameters(teacher)
    speed = matrix_speed() * 0.75
    return {
        "parameters": count,
        "steps": settings.steps,
        "sequences": len(data.lengths),
        "tokens_per_epoch": tokens,
        "tokens_per_step": round(step_tokens),
        "memory_bytes": round(held * count + activation + logits + idle),
        "seconds": round(operations * settings.steps / speed / size, 3),
    }


def weights_at_work(model: Model, length: float, share: float) -> float:
    """By how many numbers each token is multiplied: weights of the blocks, the other tokens of a sequence of this
    ``length``, and the vocabulary projection for its ``share`` of the tokens."""
    config = model.config
    blocks = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.d_ff)
    attention = config.n_layers * 2 * length * config.d_model
    return blocks + attention + share * config.vocab_size * config.d_model


def operations(
    model: Model, objective: Objective, lengths: Sequence[int], counts: Mapping[str, int], tokens: int
) -> float:
    """Floating-point operations of a step's forward and backward in this process, counted as `cost` does: of sequences
    of these ``lengths``. ``counts`` are the answers of each term among all ``tokens``, of other processes too.
    """
    mine = max(1, sum(lengths))
    length = sum(length * length for length in lengths) / mine
    head = next((name for name in objective.heads if isinstance(model.heads[name], VocabularyHead)), None)
    # A distillation counts its answers at the vocabulary under the names of its losses.
    answers = 0 if head is None else next((counts[name] for name in (head, "kl", "hard") if name in counts), 0)
    made = 6 * weights_at_work(model, length, answers / max(1, tokens))
    teacher = getattr(objective, "teacher", None)
    if teacher is not None:
        made += 2 * weights_at_work(teacher, length, answers / max(1, tokens))
    return made * mine


def matrix_speed(size: int = 1024) -> float:
    """Floating-point operations per second of a matrix product, the better of three."""
    left = torch.ones(size, size)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(left, left)
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times))
