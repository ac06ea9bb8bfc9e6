"""Placement of a map's labels: beside their points, without overlaps where possible.

Greedy, in several rounds: each label in turn takes the cheapest of its candidate positions, the others being fixed.
Shapes: n labels, m candidate positions of a label; lengths are in points (1/72 inch).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

REACH = (5.0, 12.0, 20.0, 30.0, 42.0)  # distances from a point to its label; the first needs no line
_ANGLES = np.pi / 180 * np.array([0, 180, 90, 270, 30, 330, 150, 210, 60, 120, 240, 300])  # the best first
_ROUNDS = 6
# Costs of a candidate: times the fraction of the label that overlaps other labels, that covers points; for crossing the
# border of the area; per unit of distance.
_OVERLAP, _COVERED, _OUTSIDE, _FAR = 10.0, 4.0, 40.0, 0.02
_GAP = 1.5  # between labels
_DOT = 3.0  # half of a point's width


def place_labels(points: Points, sizes: Points, area: tuple[float, float]) -> tuple[Points, NDArray[np.bool_]]:
    """The lower left corners of labels, and which of them are so far away that they need a line to their point.

    Shapes: points [n, 2], sizes [n, 2] (width, height), all inside of ``area`` -> [n, 2], [n].
    """
    corners, costs = _candidates(points, sizes, area)
    n = len(points)
    chosen = np.argmin(costs, axis=1)
    labels = np.arange(n)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for label in range(n):
            current = corners[labels, chosen]
            overlap = _overlap(corners[label], sizes[label], current, sizes)  # [m, n]
            overlap[:, label] = 0
            chosen[label] = np.argmin(costs[label] + _OVERLAP * overlap.sum(1))
        if (chosen == before).all():
            break
    return corners[labels, chosen], chosen >= len(_ANGLES)


def _candidates(points: Points, sizes: Points, area: tuple[float, float]) -> tuple[Points, Points]:
    """The candidate positions of each label [n, m, 2], and their costs without the other labels [n, m]."""
    reach = np.repeat(REACH, len(_ANGLES))
    angles = np.tile(_ANGLES, len(REACH))
    direction = np.stack([np.cos(angles), np.sin(angles)], 1)
    centres = points[:, None] + direction * (reach[:, None] + sizes[:, None] / 2)
    corners = centres - sizes[:, None] / 2
    order = np.arange(len(angles)) % len(_ANGLES) * 1e-3
    costs = np.empty(corners.shape[:2])
    dots, dot = points - _DOT, np.full((len(points), 2), 2 * _DOT)
    for label, candidate in enumerate(corners):
        covered = _overlap(candidate, sizes[label], dots, dot).sum(1)
        beyond = np.maximum(0, -candidate) + np.maximum(0, candidate + sizes[label] - np.array(area))
        costs[label] = order + _FAR * (reach - REACH[0]) + _COVERED * covered + _OUTSIDE * (beyond.sum(1) > 0)
    return corners, costs


def _overlap(first: Points, size: Points, others: Points, sizes: Points) -> Points:
    """The fraction of a label [2] at each candidate position [m, 2] that each other label [n, 2] covers -> [m, n]."""
    low = np.maximum(first[:, None], others[None] - _GAP)
    high = np.minimum(first[:, None] + size, others[None] + sizes[None] + _GAP)
    overlap: Points = np.prod(np.maximum(0, high - low), axis=2) / np.prod(size)
    return overlap
