"""The record of a search in the config of the model that it chose: the points of the grid, and what their runs gave.

``search`` is {metric, seeds, points, best}. A point is {options, rungs}; a rung is {steps, scores, runs}: the updates
of each run, and for each seed the score on dev (larger is better; of a loss its negative; null: the run diverged) and
the sha256 of the file. ``best`` is [index of the point, index of the seed]. Only what was computed is recorded; means,
intervals and remarks are functions of it (`table`), so that they change no byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Scores = Sequence[float | None]


def mean(scores: Scores) -> float:
    """The mean over seeds by which points are ranked; that of a point with a diverged run is the lowest."""
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if len(known) == len(scores) else -math.inf


def ranked(scores: Sequence[Scores]) -> list[int]:
    """Indices of points, the best first; of equal ones the first in the grid's order."""
    return sorted(range(len(scores)), key=lambda index: (-mean(scores[index]), index))


def best_seed(scores: Scores) -> int:
    """The index of the seed with the best score, the first of equal ones."""
    return max(range(len(scores)), key=lambda index: (mean([scores[index]]), -index))


def expected(value: Any) -> str | None:
    """What a record would be, if this is none (`nlpkit.artifact.schema`)."""
    return None if isinstance(value, dict) and all(_checks(value)) else "a search as nlpkit tune records it"


def _checks(value: Json) -> Iterator[bool]:
    seeds, points, best = value.get("seeds"), value.get("points"), value.get("best")
    yield isinstance(value.get("metric"), str)
    yield isinstance(seeds, list) and len(seeds) > 0 and all(type(seed) is int for seed in seeds)
    yield isinstance(points, list) and all(isinstance(point, dict) for point in points)
    assert isinstance(points, list) and isinstance(seeds, list), "`all` stops at the first that fails"
    yield isinstance(best, list) and len(best) == 2 and all(type(index) is int for index in best)
    assert isinstance(best, list)
    yield 0 <= best[0] < len(points) and 0 <= best[1] < len(seeds)
    first = points[0].get("options")
    for point in points:
        options, rungs = point.get("options"), point.get("rungs")
        yield isinstance(options, dict) and isinstance(rungs, list) and len(rungs) > 0
        assert isinstance(options, dict) and isinstance(rungs, list)
        yield options.keys() == first.keys() and all(type(item) in (bool, int, float, str) for item in options.values())
        for rung in rungs:
            yield isinstance(rung, dict) and type(rung.get("steps")) is int
            for name, kinds in (("scores", (int, float)), ("runs", (str,))):
                items = rung.get(name)
                yield isinstance(items, list) and len(items) == len(seeds)
                yield all(item is None or type(item) in kinds for item in items)
                yield all(abs(item) < 1e300 for item in items if isinstance(item, (int, float)))
    chosen = points[best[0]]
    yield all(len(point["rungs"]) <= len(chosen["rungs"]) for point in points)
    yield all(mean(rung["scores"]) > -math.inf for rung in chosen["rungs"])


def table(search: Json) -> dict[str, Any]:
    """What `nlpkit tune` prints: ``metric``, ``seeds``, ``points``, ``best`` and ``remarks``.

    A point has its ``options``, the ``steps`` of its last rung and the ``scores`` there, their ``mean`` with Student's
    t interval (``low``, ``high``; null with one seed or a diverged run), and ``worse``: whether it is worse than the
    best by more than chance, from the differences seed by seed in that rung (null: unknown). A loss is shown as it is.
    """
    points, seeds = search["points"], search["seeds"]
    point, seed = search["best"]
    best = points[point]
    rows = [_row(item, best, search["metric"], number == point) for number, item in enumerate(points)]
    rung = best["rungs"][-1]
    chosen = {
        "options": best["options"],
        "seed": seeds[seed],
        "score": shown(rung["scores"][seed], search["metric"]),
        "run": rung["runs"][seed],
    }
    result = {"metric": search["metric"], "seeds": seeds, "points": rows, "best": chosen}
    return {**result, "remarks": list(_remarks(result))}


def shown(score: float | None, metric: str) -> float | None:
    """A score as its metric: of a loss, for which smaller is better, it is the negative."""
    return None if score is None else -score if metric == "loss" else score


def _row(point: Json, best: Json, metric: str, chosen: bool) -> dict[str, Any]:
    from nlpkit.measure.intervals import student

    number = len(point["rungs"]) - 1
    rung, others = point["rungs"][number], best["rungs"][number]["scores"]
    scores = [shown(score, metric) for score in rung["scores"]]
    row = {"options": point["options"], "steps": rung["steps"], "scores": scores, "best": chosen}
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return {**row, "mean": None, "low": None, "high": None, "worse": True}
    interval = student(known).to_json()
    gap = student([other - score for other, score in zip(others, rung["scores"], strict=True)])
    worse = None if chosen or not math.isfinite(gap.low) else gap.low > 0
    return {**row, "mean": interval["value"], "low": interval["low"], "high": interval["high"], "worse": worse}


def _remarks(result: Json) -> Iterator[str]:
    """What a reader of the table must know."""
    rows, best, seeds = result["points"], result["best"], result["seeds"]
    if len(rows) > 1 and len(seeds) == 1:
        yield "one seed: there are no intervals, and chance may have chosen; --seeds 1..3 gives some"
    level = [words(row["options"]) for row in rows if row["worse"] is False]
    if level:
        yield f"not worse than the best by more than chance (95 %): {'; '.join(level)}"
    for name, value in best["options"].items():
        values = {row["options"][name] for row in rows}
        if len(values) > 1 and all(type(item) in (int, float) for item in values):
            side = "smaller" if value == min(values) else "larger"
            if value in (min(values), max(values)) and (side, value) != ("smaller", 0):
                yield f"{words({name: value})} is at the edge of the grid: a {side} value may be better"
    if len(rows) * len(seeds) > 1:
        yield "the best of several on dev looks better there than it is: evaluate it on test data"


def words(options: Json) -> str:
    """``lr=0.001,dropout=0.1``; names as flags have them."""
    return ",".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
