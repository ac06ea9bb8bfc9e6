"""From a model's scores to the next token: pure functions of numbers.

The order is the usual one: repetition penalty, temperature, top-k, top-p, and a draw from what is left. Everything is
computed in float64 and ties are broken by the smaller id, so that a choice depends on nothing but the scores and the
draw.

Shapes: V pieces of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import RunError, UserError, refuse
from nlpkit.base.seeds import Address

Logits = NDArray[np.float32]
Probabilities = NDArray[np.float64]
_BLOCK = 256  # draws that are computed together


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    temperature: scores are divided by it; 0 is greedy, the most likely piece. top_k: only the k most likely pieces
    (Fan et al. 2018, section 5.1). top_p: only the most likely ones that together have this probability (Holtzman et
    al. 2020, section 3.1). repetition_penalty: the factor that lowers the scores of pieces in the
    text (Keskar et al. 2019, section 4.1). None: off.

    Deviations: the penalty multiplies scores below zero and divides the others, so that it never rewards.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        """Errors: values out of range, and a top-k or top-p that changes nothing."""
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(
                f"temperature is {self.temperature}, expected 0 (greedy) or more",
                hint="1 samples from the model's distribution, less is safer, more is wilder",
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top-k is {self.top_k}, expected at least 1", hint="leave it out to keep all pieces")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top-p is {self.top_p}, expected more than 0 and at most 1", hint="0.9 is usual")
        penalty = self.repetition_penalty
        if penalty is not None and not (isfinite(penalty) and penalty > 0):
            raise UserError(f"repetition-penalty is {penalty}, expected more than 0", hint="1.2 is usual, 1 is none")
        if self.greedy:
            refuse(
                {"top_k": self.top_k, "top_p": self.top_p},
                "with temperature 0 the most likely piece is taken",
                hint="leave it out, or set --temperature above 0",
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def next_token(logits_V: Logits, seen_V: NDArray[np.bool_], sampling: Sampling, draw: float) -> int:
    """The id of the next token. ``seen_V`` says which pieces stand in the text, ``draw`` is from [0, 1).

    Errors: RunError for scores that are not numbers.
    """
    if not isfinite(logits_V.max()):
        raise RunError("the model's scores are not numbers", hint="its weights are damaged, or training diverged")
    if sampling.repetition_penalty is not None:
        logits_V = penalised(logits_V, seen_V, sampling.repetition_penalty)
    if sampling.greedy:
        return int(logits_V.argmax())
    return drawn(probabilities(logits_V, sampling), draw)


def penalised(logits_V: Logits, seen_V: NDArray[np.bool_], penalty: float) -> Logits:
    """Scores, those of seen pieces made worse by a factor."""
    worse = np.where(logits_V < 0, logits_V * np.float32(penalty), logits_V / np.float32(penalty))
    return np.where(seen_V, worse, logits_V)


def probabilities(logits_V: Logits, sampling: Sampling) -> Probabilities:
    """The distribution that is sampled from, [V]; sums to 1. For a temperature above 0."""
    wide_V = logits_V.astype(np.float64)
    with np.errstate(over="ignore"):  # a tiny temperature leaves the best alone: the others have e^-infinity
        p_V: Probabilities = np.exp((wide_V - wide_V.max()) / sampling.temperature)
    p_V /= p_V.sum()
    if sampling.top_k is not None:
        p_V = top_k(p_V, sampling.top_k)
    if sampling.top_p is not None:
        p_V = top_p(p_V, sampling.top_p)
    return p_V


def top_k(p_V: Probabilities, k: int) -> Probabilities:
    """The k most likely pieces; the others have no probability."""
    if k >= len(p_V):
        return p_V
    least = np.partition(p_V, -k)[-k]
    kept_V = p_V > least
    kept_V[np.flatnonzero(p_V == least)[: k - int(kept_V.sum())]] = True
    return _only(p_V, kept_V)


def top_p(p_V: Probabilities, mass: float) -> Probabilities:
    """The fewest pieces, most likely first, that have at least ``mass`` together."""
    if mass == 1:
        return p_V
    order = np.argsort(-p_V, kind="stable")
    size = int(np.searchsorted(np.cumsum(p_V[order]), mass)) + 1
    kept_V = np.zeros(len(p_V), bool)
    kept_V[order[:size]] = True
    return _only(p_V, kept_V)


def _only(p_V: Probabilities, kept_V: NDArray[np.bool_]) -> Probabilities:
    left_V: Probabilities = np.where(kept_V, p_V, 0)
    left_V /= left_V.sum()
    return left_V


def drawn(p_V: Probabilities, draw: float) -> int:
    """The piece in whose interval of [0, 1) a draw falls; never one without probability."""
    ends_V = np.cumsum(p_V)
    piece = int(np.searchsorted(ends_V, draw * ends_V[-1], side="right"))
    return piece if piece < len(p_V) else int(np.flatnonzero(p_V)[-1])  # a draw that was rounded up to 1


def draws(seed: int, prompt: int, sample: int) -> Iterator[float]:
    """The draws of one continuation, each a function of (seed, prompt, sample, position) with 53 bits."""
    address, start = Address(seed, ("generate", prompt)), 0
    while True:
        words = address.uniform(np.full(_BLOCK, sample), np.arange(start, start + _BLOCK))
        yield from (words[0] + words[1] * 2.0**-32).tolist()
        start += _BLOCK
