"""Results of evaluations: every metric of every model and baseline with its interval, as tables and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpkit.reporting.chart import number
from nlpkit.reporting.html import Markup, join, table, tag
from nlpkit.reporting.sources import Run
from nlpkit.reporting.tables import badge, figure


def evaluations(results: list[dict[str, Any]], runs: list[Run]) -> list[Markup]:
    """For each data set: every metric of every model and baseline with its interval, and a picture of it."""
    by_data: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_data.setdefault(str(result["data"].get("sha256")), []).append(result)
    parts: list[Markup] = []
    for same in by_data.values():
        data = same[0]["data"]
        size = next(
            (f"{data[name]:,} {name}" for name in ("examples", "tokens") if isinstance(data.get(name), int)), ""
        )
        parts.append(tag("h3", f"On {data.get('name')}", tag("small", f" {size}") if size else ""))
        parts.append(_metrics_table(same, runs, f"Metrics on {data.get('name')}, with intervals"))
        for result in same:
            parts += _difference(result)
            parts += _confusion(result)
    return parts


def _who(model: Mapping[str, Any], runs: list[Run]) -> Markup:
    """A model's name, with the letter of the run that made it."""
    index = next((index for index, run in enumerate(runs) if run.sha256 and run.sha256 == model.get("sha256")), None)
    name = tag("span", _short(model), class_="name")
    return name if index is None else join([badge(index), " ", name])


def _short(model: Mapping[str, Any]) -> str:
    return str(model.get("name")).removesuffix(".safetensors")


def _metrics_table(same: list[dict[str, Any]], runs: list[Run], caption: str) -> Markup:
    entries: dict[str, list[tuple[Markup, Mapping[str, float]]]] = {}
    shown: set[tuple[str, str]] = set()

    def enter(who: Markup, what: str, metrics: Mapping[str, Any]) -> None:
        for name, estimate in metrics.items():
            if (what, name) not in shown:  # the model that two results compare with is measured once
                shown.add((what, name))
                entries.setdefault(name, []).append((who, estimate))

    for result in same:
        enter(_who(result["model"], runs), str(result["model"].get("sha256")), result["metrics"])
    for result in same:
        if "against" in result:
            other = result["against"]
            enter(_who(other, runs), str(other.get("sha256")), other.get("metrics", {}))
    for result in same:
        for name, metrics in result.get("baselines", {}).items():
            enter(tag("span", f"baseline {name.replace('_', ' ')}", class_="muted"), f"baseline {name}", metrics)
    rows: list[list[object]] = []
    for name, measured in sorted(entries.items(), key=lambda item: "." in item[0]):  # of single classes: last
        low = min(estimate["low"] for _, estimate in measured)
        high = max(estimate["high"] for _, estimate in measured)
        for index, (who, estimate) in enumerate(measured):
            bounds = f"{figure(estimate['low'])} to {figure(estimate['high'])}"
            rows.append(
                [
                    name if index == 0 else tag("span", name, class_="again"),
                    who,
                    figure(estimate["value"]),
                    bounds,
                    interval(estimate, low, high),
                ]
            )
    level = same[0].get("settings", {}).get("level") if isinstance(same[0].get("settings"), dict) else None
    heading = f"{level:.0%} interval" if isinstance(level, float) else "interval"
    return table(["metric", "model", "value", heading, "drawn"], rows, caption=caption, class_="metrics")


def interval(estimate: Mapping[str, float], low: float, high: float, *, zero: bool = False) -> Markup:
    """A dot on a line from low to high, all of a metric on one scale; ``zero`` marks where it is."""
    span = (high - low) or 1.0

    def x(value: float) -> str:
        return number(6 + (value - low) / span * 148)

    marks = [tag("path", d="M6 9H154", class_="grid")]
    if zero:
        marks.append(tag("path", d=f"M{x(0)} 2V16", class_="zero"))
    marks.append(tag("path", d=f"M{x(estimate['low'])} 9H{x(estimate['high'])}", class_="whisker"))
    marks.append(tag("circle", cx=x(estimate["value"]), cy=9, r=4, class_="value"))
    return tag("svg", *marks, viewBox="0 0 160 18", class_="interval", aria_hidden="true")


def _difference(result: dict[str, Any]) -> list[Markup]:
    if "difference" not in result or "against" not in result:
        return []
    differences, other = result["difference"], result["against"]
    caption = f"{_short(result['model'])} minus {_short(other)}, on the same examples"
    rows: list[list[object]] = []
    for name, value in differences.items():
        apart = name == "agreement" or value["low"] > 0 or value["high"] < 0
        bounds = f"{figure(value['low'])} to {figure(value['high'])}"
        low, high = (min(0.0, value["low"]), max(0.0, value["high"]))
        rows.append(
            [
                name,
                figure(value["value"]),
                bounds,
                interval(value, low, high, zero=True),
                "" if name == "agreement" else "differs" if apart else "may be chance",
            ]
        )
    return [table(["metric", "difference", "interval", "drawn", "reading"], rows, caption=caption, class_="metrics")]


def _confusion(result: dict[str, Any]) -> list[Markup]:
    """Truth by guesses; the darker a cell, the larger its fraction of the row."""
    confusion = result.get("confusion")
    labels, counts = (confusion.get("labels"), confusion.get("counts")) if isinstance(confusion, dict) else (None, None)
    if not (isinstance(labels, list) and isinstance(counts, list) and 0 < len(labels) <= 30):
        return []
    if not all(isinstance(row, list) and all(type(count) is int and count >= 0 for count in row) for row in counts):
        return []
    rows: list[list[object]] = []
    for name, row in zip(labels, counts, strict=False):
        total = sum(row) or 1
        rows.append([name, *(tag("td", f"{count:,}", class_=f"number h{round(9 * count / total)}") for count in row)])
    head = ["truth \\ guess", *labels]
    return [table(head, rows, caption=f"Guesses of {_short(result['model'])}", class_="confusion")]
