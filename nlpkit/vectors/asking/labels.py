"""Where the labels of a map go: beside their points, and not over each other.

Greedy and repeated: each label in turn takes the cheapest of a few places around its point, given where all others are.
Shapes: n labels, m places of a label; lengths are in points (1/72 inch).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

REACH = (5.0, 12.0, 20.0, 30.0, 42.0)  # from a point to its label; the first stands without a line
_ANGLES = np.pi / 180 * np.array([0, 180, 90, 270, 30, 330, 150, 210, 60, 120, 240, 300])  # the best first
_ROUNDS = 6
_OVERLAP, _COVERED, _OUTSIDE, _FAR = (
    10.0,
    4.0,
    40.0,
    0.02,
)  # what is bad: shares of the label, and each point's width away
_GAP = 1.5  # between labels
_DOT = 3.0  # half of a point's width


def placed(points: Points, sizes: Points, area: tuple[float, float]) -> tuple[Points, NDArray[np.bool_]]:
    """The lower left corners of labels, and which of them stand so far away that they need a line to their point.

    Shapes: points [n, 2], sizes [n, 2] (width, height), all inside of ``area`` -> [n, 2], [n].
    """
    corners, costs = _places(points, sizes, area)
    n = len(points)
    chosen = np.argmin(costs, axis=1)
    everyone = np.arange(n)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for label in range(n):
            at = corners[everyone, chosen]
            shared = _overlap(corners[label], sizes[label], at, sizes)  # [places, n]
            shared[:, label] = 0
            chosen[label] = np.argmin(costs[label] + _OVERLAP * shared.sum(1))
        if (chosen == before).all():
            break
    return corners[everyone, chosen], chosen >= len(_ANGLES)


def _places(points: Points, sizes: Points, area: tuple[float, float]) -> tuple[Points, Points]:
    """The places each label may take [n, places, 2], and what each costs before other labels are there [n, places]."""
    reach = np.repeat(REACH, len(_ANGLES))
    angles = np.tile(_ANGLES, len(REACH))
    direction = np.stack([np.cos(angles), np.sin(angles)], 1)
    centres = points[:, None] + direction * (reach[:, None] + sizes[:, None] / 2)
    corners = centres - sizes[:, None] / 2
    order = np.arange(len(angles)) % len(_ANGLES) * 1e-3
    costs = np.empty(corners.shape[:2])
    dots, dot = points - _DOT, np.full((len(points), 2), 2 * _DOT)
    for label, own in enumerate(corners):
        covered = _overlap(own, sizes[label], dots, dot).sum(1)
        beyond = np.maximum(0, -own) + np.maximum(0, own + sizes[label] - np.array(area))
        costs[label] = order + _FAR * (reach - REACH[0]) + _COVERED * covered + _OUTSIDE * (beyond.sum(1) > 0)
    return corners, costs


def _overlap(first: Points, size: Points, others: Points, sizes: Points) -> Points:
    """Which share of a label [2] at each of its places [m, 2] lies under each of the others [n, 2] -> [m, n]."""
    low = np.maximum(first[:, None], others[None] - _GAP)
    high = np.minimum(first[:, None] + size, others[None] + sizes[None] + _GAP)
    shared: Points = np.prod(np.maximum(0, high - low), axis=2) / np.prod(size)
    return shared
