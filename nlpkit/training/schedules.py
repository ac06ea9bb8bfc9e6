"""How the learning rate falls after its warm-up. Each schedule returns the height between peak (1) and floor (0) as a
function of the step alone, so a resumed run continues with the same rate. Arguments: the step from 0, the steps of the
warm-up, of the whole run, of the decay at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sqrt

DECAY_FRACTION = 0.2  # of the steps; the default (Hägele et al. 2024, section 3.2: 20 % is enough)


def _constant(step: int, warmup: int, steps: int, decay: int) -> float:
    return 1.0


def _linear(step: int, warmup: int, steps: int, decay: int) -> float:
    """To zero after the last update (Devlin et al. 2019, appendix A.2)."""
    return (steps - step) / max(1, steps - warmup)


def _cosine(step: int, warmup: int, steps: int, decay: int) -> float:
    """Half a cosine to zero (Loshchilov and Hutter 2017, equation 5, one cycle)."""
    return 0.5 * (1 + cos(pi * (step - warmup) / max(1, steps - warmup)))


def _inverse_sqrt(step: int, warmup: int, steps: int, decay: int) -> float:
    """With the square root of the step (Vaswani et al. 2017, equation 3), equal to the peak at the end of warm-up."""
    return float((max(1, warmup) / max(1, step + 1, warmup)) ** 0.5)


def _wsd(step: int, warmup: int, steps: int, decay: int) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4.2): the peak until the last steps, then to zero as
    1 - sqrt of the fraction done (Hägele et al. 2024, equation 1)."""
    done = step - (steps - decay)
    return 1.0 if done <= 0 else 1 - sqrt(done / decay)


def _trapezoid(step: int, warmup: int, steps: int, decay: int) -> float:
    """The peak until the last steps, then linearly to zero (Zhai et al. 2022, section 3.5)."""
    return min(1.0, (steps - step) / max(1, decay))


SCHEDULES: dict[str, Callable[[int, int, int, int], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "inverse-sqrt": _inverse_sqrt,
    "wsd": _wsd,
    "trapezoid": _trapezoid,
}
DECAYING = frozenset({"wsd", "trapezoid"})  # those that read the length of the decay
ENDLESS = frozenset({"constant", "inverse-sqrt"})  # those that do not reach the floor
