"""How large a model is, and what its steps compute, by formula: for reports while a run goes on. What a run will cost,
before it is begun, is the business of nlpkit/training/plan.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from nlpkit.layers.heads import VocabularyHead
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective


def parameters(model: torch.nn.Module) -> int:
    """Trainable numbers; tied weights count once."""
    return sum(value.numel() for value in model.parameters())


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
    """Floating-point operations of a step's forward and backward in this process, 6 a weight and token
    (Kaplan et al. 2020, section 2.1) plus attention: of sequences of these ``lengths``. ``counts`` are the answers of
    each term among all ``tokens``, of other processes too.
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


def matrix_speed(size: int = 1024, clock: Callable[[], float] = time.perf_counter) -> float:
    """Floating-point operations per second of a product of two ``size`` x ``size`` matrices, the best of four."""
    left = torch.ones(size, size)
    times = []
    for _ in range(4):
        start = clock()
        torch.mm(left, left)
        times.append(clock() - start)
    return float(2 * size**3 / min(times))
