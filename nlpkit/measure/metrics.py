"""What is measured of a classifier: all of it from the table of counts, truth by guess.

Each metric is a function of many tables at once, so that bootstrap intervals cost no more than the table
(`intervals.cells`). Values equal scikit-learn's (tests/measure/test_metrics.py): a class that is neither in the
truth nor in the guesses does not count in the macro-F1.

Shapes: C classes, R tables; tables [R, C, C], rows truth, columns guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nlpkit.measure import intervals
from nlpkit.measure.intervals import Interval

Tables = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], n_classes: int) -> Tables:
    """Counts [C, C] of examples by truth (row) and guess (column)."""
    counts = np.bincount(truth * n_classes + guess, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def accuracy(tables: Tables) -> Floats:
    """The fraction of right guesses, [R]."""
    return _divide(tables.trace(axis1=1, axis2=2), tables.sum((1, 2)))


def class_f1(tables: Tables) -> Floats:
    """F1 of each class, [R, C]; NaN where a class is neither in the truth nor in the guesses."""
    right = tables.diagonal(axis1=1, axis2=2)
    return _divide(2 * right, tables.sum(1) + tables.sum(2))


def macro_f1(tables: Tables) -> Floats:
    """The mean of the classes' F1, [R]."""
    f1 = class_f1(tables)
    return _divide(np.nansum(f1, axis=1), (~np.isnan(f1)).sum(1))


def mcc(tables: Tables) -> Floats:
    """Matthews' correlation for any number of classes (Gorodkin 2004), [R]; 0 when truth or guesses are one class."""
    n = tables.sum((1, 2)).astype(np.float64)
    truth, guess = tables.sum(2).astype(np.float64), tables.sum(1).astype(np.float64)
    both = tables.trace(axis1=1, axis2=2) * n - (truth * guess).sum(1)
    spread = np.sqrt((n**2 - (truth**2).sum(1)) * (n**2 - (guess**2).sum(1)))
    return np.nan_to_num(_divide(both, spread))


METRICS: dict[str, Callable[[Tables], Floats]] = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}


def point(counts: Tables) -> dict[str, float]:
    """Every metric's value, without intervals: what training looks at."""
    return {name: float(metric(counts[None])[0]) for name, metric in METRICS.items()}


def measure(
    counts: Tables, labels: Sequence[str], *, seed: int, resamples: int = intervals.RESAMPLES
) -> dict[str, Interval]:
    """Every metric with its interval, and ``f1.LABEL`` of each class that occurs. Shape: counts [C, C]."""
    wanted = dict(METRICS)
    for number, label in enumerate(labels):
        if counts[number].sum() + counts[:, number].sum():
            wanted[f"f1.{label}"] = partial(_one_f1, number=number)
    return {name: intervals.cells(metric, counts, seed=seed, resamples=resamples) for name, metric in wanted.items()}


def _one_f1(tables: Tables, number: int) -> Floats:
    return class_f1(tables)[:, number]


def compare(
    truth: NDArray[np.int64],
    guess: NDArray[np.int64],
    other: NDArray[np.int64],
    n_classes: int,
    *,
    seed: int,
    resamples: int = intervals.RESAMPLES,
) -> dict[str, Interval]:
    """Every metric's difference, ``guess`` minus ``other``, on the same draws of examples; and how often they agree.

    Shapes: truth, guess, other [n].
    """
    flat = np.bincount((truth * n_classes + guess) * n_classes + other, minlength=n_classes**3)
    cube = flat.reshape(n_classes, n_classes, n_classes).astype(np.int64)  # truth, guess, other
    wanted: dict[str, Callable[[Tables], Floats]] = {
        name: partial(_difference, metric=metric) for name, metric in METRICS.items()
    }
    wanted["agreement"] = _agreement
    return {name: intervals.cells(metric, cube, seed=seed, resamples=resamples) for name, metric in wanted.items()}


def _difference(cubes: Tables, metric: Callable[[Tables], Floats]) -> Floats:
    return metric(cubes.sum(3)) - metric(cubes.sum(2))


def _agreement(cubes: Tables) -> Floats:
    return accuracy(cubes.sum(1))


def _divide(above: NDArray[np.generic], below: NDArray[np.generic]) -> Floats:
    """Above / below, NaN where below is 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient: Floats = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
