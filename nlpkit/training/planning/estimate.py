"""How large a model is, and what its steps compute, by formula: for reports while a run goes on. What a run will cost,
before it is begun, is the business of nlpkit/stages/plan.py."""

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


def weights_at_work(model: Model, length: float, wanted: float, answers: float) -> float:
    """By how many numbers a token is multiplied, on average: weights of the blocks, the other tokens of a sequence of
    this ``length``, and the vocabulary projection for the share of the tokens that have ``answers``. Of the last block
    all have keys and values, and the rest only the share that is ``wanted``."""
    config = model.config
    inner = 2 * config.d_model**2 + 2 * config.d_model * config.d_ff + 2 * length * config.d_model
    keys_and_values = config.n_layers * 2 * config.d_model**2
    return keys_and_values + (config.n_layers - 1 + wanted) * inner + answers * config.vocab_size * config.d_model


def operations(
    model: Model, objective: Objective, lengths: Sequence[int], counts: Mapping[str, int], wanted: int
) -> float:
    """Floating-point operations of a batch's forward and backward, 6 a weight and token (Kaplan et al. 2020, section
    2.1) plus attention: of sequences of these ``lengths``, of whose tokens ``wanted`` leave the last block. ``counts``
    are the answers of each term.
    """
    tokens = max(1, sum(lengths))
    length = sum(length * length for length in lengths) / tokens
    head = next((name for name in objective.heads if isinstance(model.heads[name], VocabularyHead)), None)
    # A distillation counts its answers at the vocabulary under the names of its losses.
    answers = 0 if head is None else next((counts[name] for name in (head, "kl", "hard") if name in counts), 0)
    shares = length, wanted / tokens, answers / tokens
    made = 6 * weights_at_work(model, *shares)
    teacher = getattr(objective, "teacher", None)
    if teacher is not None:
        made += 2 * weights_at_work(teacher, *shares)
    return made * tokens


def matrix_speed(size: int = 1024, clock: Callable[[], float] = time.perf_counter) -> float:
    """Floating-point operations per second of a product of two ``size`` x ``size`` matrices, the best of four."""
    left = torch.ones(size, size)
    times = []
    for _ in range(4):
        start = clock()
        torch.mm(left, left)
        times.append(clock() - start)
    return float(2 * size**3 / min(times))
