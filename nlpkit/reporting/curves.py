"""Which charts a report draws: for each kind of training, each quantity with all runs that measured it."""

from __future__ import annotations

from dataclasses import dataclass

from nlpkit.reporting.chart import Chart, Line, from_points
from nlpkit.reporting.log import OF_A_STEP, Logged, Points
from nlpkit.reporting.sources import Run

LEVELS = 4  # in a chart; more, of runs on different data, say nothing
AXES = ("step", "tokens", "time")  # of what a model learns; the rest is drawn by step


@dataclass(frozen=True)
class Group:
    """Runs whose losses can be compared: the same command, the same terms. ``charts`` are by axis; under "" are those
    that have one axis only."""

    title: str
    runs: list[int]
    charts: dict[str, list[Chart]]


def groups(runs: list[Run]) -> list[Group]:
    """The runs that have curves, by what they learn, in the order of the files."""
    by_title: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        if run.logged is not None and (run.logged.curves or run.logged.dev):
            by_title.setdefault(title(run, run.logged), []).append(number)
    return [Group(name, numbers, _charts(numbers, runs)) for name, numbers in by_title.items()]


def title(run: Run, logged: Logged) -> str:
    """What a run learns: "pretrain: mlm + nsp"."""
    terms = " + ".join(logged.terms)
    return f"{run.command}: {terms}" if terms else run.command


def _charts(numbers: list[int], runs: list[Run]) -> dict[str, list[Chart]]:
    logs = {number: logged for number in numbers if (logged := runs[number].logged) is not None}
    best = {number: runs[number].best for number in logs}
    unit = next(iter(logs.values())).unit
    by_axis: dict[str, list[Chart]] = {}
    for axis in AXES:
        if axis == "step" or all(getattr(logged, _cumulative(axis)) for logged in logs.values()):
            charts = [_learning(name, axis, unit, logs, best) for name in _learnt(logs)]
            by_axis[axis] = [chart for chart in charts if chart.lines]
    rest = [name for name in OF_A_STEP if name != "loss"]
    drawn = [
        Chart(
            OF_A_STEP[name],
            unit,
            [
                Line(number, from_points(logged.curves[name]))
                for number, logged in logs.items()
                if logged.curves.get(name)
            ],
        )
        for name in rest
    ]
    by_axis[""] = [chart for chart in drawn if chart.lines]
    return by_axis


def _cumulative(axis: str) -> str:
    return "seconds" if axis == "time" else "tokens"


def _learnt(logs: dict[int, Logged]) -> list[str]:
    """The loss and its terms, then each metric that is no loss of the training's own, in the order of names."""
    terms = sorted({name for logged in logs.values() for name in logged.curves if name not in OF_A_STEP})
    metrics = sorted(
        {own_chart(name) for logged in logs.values() for name in logged.dev if measured_loss(name, logged) is None}
    )
    return ["loss", *terms, *metrics]


def own_chart(metric: str) -> str:
    """The chart of a metric of its own. A loss that is none of the training's terms is not the training's loss."""
    return "loss on dev" if metric == "loss" else metric


def measured_loss(metric: str, logged: Logged) -> str | None:
    """The training curve that a metric repeats on held-out data, None when it is a metric of its own: "dev_nsp_loss"
    is of "loss: nsp"."""
    term = metric.removeprefix("dev_").removesuffix("_loss")
    if len(logged.terms) == 1 and term in ("loss", logged.terms[0]):
        return "loss"
    return f"loss: {term}" if f"loss: {term}" in logged.curves else None


def _learning(name: str, axis: str, unit: str, logs: dict[int, Logged], best: dict[int, int | None]) -> Chart:
    lines = []
    for number, logged in logs.items():
        if points := logged.curves.get(name):
            lines.append(Line(number, along(points, axis, logged)))
        for metric, points in logged.dev.items():
            if points and (measured_loss(metric, logged) or own_chart(metric)) == name:
                curve = along(points, axis, logged)
                where = [point for point, (step, _) in zip(curve, points, strict=True) if step == best[number]]
                lines.append(Line(number, curve, dev=True, best=where[0] if where else None))
    levels: dict[tuple[str, float], None] = {}
    for logged in logs.values():
        levels |= dict.fromkeys(levels_of(name, logged))
    return Chart(name, unit if axis == "step" else axis, lines, list(levels) if len(levels) <= LEVELS else [])


def levels_of(chart: str, logged: Logged) -> list[tuple[str, float]]:
    """What guessing gets in a chart, by name: of a loss its term's, where it has several, or its only one's."""
    (only,) = logged.terms if len(logged.terms) == 1 else (None,)
    quantity = f"loss: {only}" if chart == "loss" and only else chart
    return list(logged.levels.get(quantity, {}).items())


def along(points: Points, axis: str, logged: Logged) -> list[tuple[float, float]]:
    """Points by step, by tokens read until then, or by seconds of training; between two reports in proportion."""
    if axis == "step":
        return from_points(points)
    known = [(0, 0.0), *getattr(logged, _cumulative(axis))]
    curve, at = [], 0
    for step, value in points:
        while at + 2 < len(known) and known[at + 1][0] < step:
            at += 1
        (before, low), (after, high) = known[at], known[at + 1]
        curve.append((low + (high - low) * (step - before) / (after - before), value))
    return curve
