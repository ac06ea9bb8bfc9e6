"""Bootstrap intervals (Efron 1979; percentile intervals, Efron and Tibshirani 1993, chapter 13).

The test examples are drawn again with replacement, and the statistic is computed on each draw. Compared systems are
measured on the same draws (paired), which Berg-Kirkpatrick et al. 2012 is about. Every draw is a function of the seed.

Shapes: n examples, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.seeds import Address

RESAMPLES = 1000
LEVEL = 0.95
_AT_ONCE = 1 << 22  # integers drawn at a time (32 MB)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A measured value with the bounds of its interval; NaN where it is not defined, ``reason`` says why."""

    value: float
    low: float
    high: float
    reason: str = "it is not defined on this data, or no float can hold it"

    def to_json(self) -> dict[str, Any]:
        """null for what is not defined, and then ``reason``."""
        parts = {"value": self.value, "low": self.low, "high": self.high}
        fields: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in parts.items()}
        return {**fields, "reason": self.reason} if None in fields.values() else fields


def bootstrap(
    statistic: Callable[..., float],
    *arrays: NDArray[Any],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The interval of ``statistic(*arrays)``, whose arrays are parallel: [n] or [n, ...] each, resampled together.

    A comparison is a statistic of both systems' arrays (``lambda a, b: a.mean() - b.mean()``). Draws on which the
    statistic is not a number (a correlation of equal values) do not count. Errors: ValueError for no examples or
    arrays of different lengths.
    """
    n = _parallel(arrays)
    drawn = [statistic(*(array[rows] for array in arrays)) for block in draws(n, seed, resamples) for rows in block]
    return percentile(float(statistic(*arrays)), np.asarray(drawn, np.float64), level)


def mean(values: NDArray[Any], *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """`bootstrap` of a mean, without a call for each draw. Shape: values [n]."""
    return ratio(values, np.ones(len(values)), seed=seed, resamples=resamples, level=level)


def student(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of a few independent values, say one for each seed: a bootstrap of three draws
    from three numbers, and is too narrow. One value has no interval. Errors: ValueError for no value."""
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    middle = math.fsum(values) / n
    if n == 1:
        return Interval(middle, float("nan"), float("nan"), reason="one value says nothing of its variance")
    from scipy.special import stdtrit

    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation / math.sqrt(n)
    return Interval(middle, middle - half, middle + half)


def ratio(
    numerators: NDArray[Any],
    denominators: NDArray[Any],
    *,
    seed: int,
    then: Callable[[Floats], Floats] = lambda value: value,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """`bootstrap` of ``then(sum of numerators / sum of denominators)``: a mean over tokens of resampled sequences.

    Shapes: numerators, denominators [n].
    """
    n = _parallel((numerators, denominators))
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    drawn = np.concatenate([above[rows].sum(1) / below[rows].sum(1) for rows in draws(n, seed, resamples)])
    return percentile(float(then(np.asarray(above.sum() / below.sum()))), then(drawn), level)


def cells(
    statistic: Callable[[NDArray[np.int64]], Floats],
    counts: NDArray[np.int64],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """`bootstrap` of a statistic of a table of counts (a confusion matrix), whatever the number of examples.

    n examples drawn with replacement fill the cells as one multinomial draw does, so the table is drawn directly: the
    cost is that of the table and not of the examples. ``statistic`` maps tables [R, ...] to values [R]; counts [...].
    """
    n = int(counts.sum())
    if n == 0:
        raise ValueError("an interval needs at least one example")
    rng = Address(seed, ("bootstrap",)).generator()
    filled = np.flatnonzero(counts)
    fractions = counts.reshape(-1)[filled] / n
    at_once = max(1, _AT_ONCE // counts.size)
    drawn: list[Floats] = []
    for start in range(0, resamples, at_once):
        tables = np.zeros((min(at_once, resamples - start), counts.size), np.int64)
        tables[:, filled] = rng.multinomial(n, fractions, size=len(tables))
        drawn.append(statistic(tables.reshape(-1, *counts.shape)))
    return percentile(float(statistic(counts[None])[0]), np.concatenate(drawn), level)


def draws(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers drawn with replacement, in blocks [some, n] that hold ``resamples`` rows together."""
    rng = Address(seed, ("bootstrap",)).generator()
    at_once = max(1, _AT_ONCE // n)
    for start in range(0, resamples, at_once):
        yield rng.integers(n, size=(min(at_once, resamples - start), n))


def percentile(value: float, drawn: Floats, level: float) -> Interval:
    """The interval between the quantiles of the drawn statistics."""
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _parallel(arrays: tuple[NDArray[Any], ...]) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"an interval needs parallel arrays of at least one example, not of lengths {sorted(lengths)}")
    return lengths.pop()
