"""A report's tables: the runs, how their options differ, what evaluations found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nlpkit.reporting.chart import clock, colour, letter, number
from nlpkit.reporting.html import Markup, join, table, tag
from nlpkit.reporting.log import Logged
from nlpkit.reporting.sources import Run

ABSENT = "–"


def badge(run: int) -> Markup:
    """A run's letter in its colour."""
    return tag("span", letter(run), class_=f"badge {colour(run)}")


def fingerprint(sha: str | None) -> Markup:
    """The beginning of a sha256; the whole of it for those who point at it or copy it."""
    return Markup(ABSENT) if not sha else tag("code", sha[:12], title=sha)


def figure(value: float) -> str:
    """A measured value: four digits after the point where they say something."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"


def runs_table(runs: list[Run]) -> Markup:
    """One row a run. Columns that no run fills are left out."""
    head = ["run", "command", "kind", "parameters", "steps", "tokens", "last loss", "best on dev", "seed", "tokens/s",
            "time", "sha256"]  # fmt: skip
    rows = [_run_row(place, run) for place, run in enumerate(runs)]
    kept = [column for column in range(len(head)) if any(str(row[column]) != ABSENT for row in rows)]
    return table([head[column] for column in kept], [[row[column] for column in kept] for row in rows], caption="Runs")


def _run_row(place: int, run: Run) -> list[object]:
    logged = run.logged or Logged()
    steps: str = ABSENT if run.steps is None else f"{run.steps:,}"
    if run.unfinished and logged.steps:
        steps = f"{run.steps or 0:,} of {logged.steps:,}, not finished"
    loss = logged.curves.get("loss")
    seconds = logged.seconds[-1][1] if logged.seconds else 0.0
    tokens = logged.tokens[-1][1] if logged.tokens else 0.0
    seed = run.asked.get("seed")
    return [
        join([badge(place), " ", tag("span", run.name, class_="name")]), run.command, run.kind or ABSENT,
        ABSENT if run.parameters is None else f"{run.parameters:,}", steps, f"{tokens:,.0f}" if tokens else ABSENT,
        figure(loss[-1][1]) if loss else ABSENT, best(run), ABSENT if seed is None else str(seed),
        f"{tokens / seconds:,.0f}" if seconds else ABSENT, clock(seconds) if seconds else ABSENT,
        fingerprint(run.sha256),
    ]  # fmt: skip


def best(run: Run) -> str:
    """The metrics of the evaluation whose weights were kept, and its step."""
    if run.best is None:
        return ABSENT
    dev = {} if run.logged is None else run.logged.dev
    found = {name: value for name, points in dev.items() for step, value in points if step == run.best}
    said = ", ".join(f"{name} {figure(value)}" for name, value in list(found.items())[:3])
    return f"{said} (step {run.best:,})" if said else f"step {run.best:,}"


def differences(runs: list[Run]) -> Markup:
    """Options, inputs, versions in which the runs differ, a row each; of one run, or of equal ones, none."""
    told = [_told(run) for run in runs]
    names = sorted({name for one in told for name in one}, key=lambda name: (name.split(" ")[0] == "version", name))
    rows: list[list[object]] = []
    for name in names:
        values = [one.get(name, ABSENT) for one in told]
        if len(set(values)) > 1:
            rows.append([name, *values])
    head = ["option", *(join([badge(place), " ", run.name]) for place, run in enumerate(runs))]
    return table(head, rows, caption="What differs between the runs") if rows else Markup("")


def options_table(runs: list[Run]) -> Markup:
    """Every option of every run, for those who want to see the equal ones as well."""
    told = [_told(run) for run in runs]
    names = sorted({name for one in told for name in one})
    head = ["option", *(join([badge(place), " ", run.name]) for place, run in enumerate(runs))]
    return table(head, [[name, *(one.get(name, ABSENT) for one in told)] for name in names], caption="All options")


def _told(run: Run) -> dict[str, str]:
    """Everything a run was told, in words; an option that is None was not given."""
    found = {"command": run.command}
    for name, value in run.options.items():
        if value is not None:
            found[name.replace("_", "-")] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    given = run.asked.get("inputs")
    for item in given if isinstance(given, list) else []:
        if isinstance(item, dict):
            role = f"input {item.get('role')}"
            said = f"{item.get('name')} {str(item.get('sha256'))[:12]}"
            found[role] = f"{found[role]}, {said}" if role in found else said
    versions = run.asked.get("versions")
    for name, value in versions.items() if isinstance(versions, dict) else []:
        found[f"version of {name}"] = str(value)
    return found


def evaluations(results: list[dict[str, Any]], runs: list[Run]) -> list[Markup]:
    """For each data set: every metric of every model and baseline with its interval, and a picture of it."""
    by_data: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_data.setdefault(str(result["data"].get("sha256")), []).append(result)
    made: list[Markup] = []
    for same in by_data.values():
        data = same[0]["data"]
        size = next((f"{data[name]:,} {name}" for name in ("examples", "tokens") if isinstance(data.get(name), int)), "")
        made.append(tag("h3", f"On {data.get('name')}", tag("small", f" {size}") if size else ""))
        made.append(_metrics_table(same, runs, f"Metrics on {data.get('name')}, with intervals"))
        for result in same:
            made += _difference(result)
            made += _confusion(result)
    return made


def _who(model: Mapping[str, Any], runs: list[Run]) -> Markup:
    """A model's name, with the letter of the run that made it."""
    place = next((place for place, run in enumerate(runs) if run.sha256 and run.sha256 == model.get("sha256")), None)
    name = tag("span", model.get("name"), class_="name")
    return name if place is None else join([badge(place), " ", name])


def _metrics_table(same: list[dict[str, Any]], runs: list[Run], caption: str) -> Markup:
    entries: dict[str, list[tuple[Markup, Mapping[str, float]]]] = {}
    shown: set[tuple[str, str]] = set()

    def enter(who: Markup, what: str, metrics: Mapping[str, Any]) -> None:
        for name, found in metrics.items():
            if (what, name) not in shown:  # the model that two results compare with is measured once
                shown.add((what, name))
                entries.setdefault(name, []).append((who, found))

    for result in same:
        enter(_who(result["model"], runs), str(result["model"].get("sha256")), result["metrics"])
        other = result.get("against")
        if isinstance(other, dict) and isinstance(other.get("metrics"), dict):
            enter(_who(other, runs), str(other.get("sha256")), other["metrics"])
        for name, metrics in (result.get("baselines") or {}).items():
            enter(tag("span", f"baseline {name.replace('_', ' ')}", class_="muted"), f"baseline {name}", metrics)
    rows: list[list[object]] = []
    for name, measured in entries.items():
        low = min(found["low"] for _, found in measured)
        high = max(found["high"] for _, found in measured)
        for place, (who, found) in enumerate(measured):
            said = f"{figure(found['low'])} to {figure(found['high'])}"
            rows.append([name if place == 0 else tag("span", name, class_="again"), who, figure(found["value"]), said,
                         interval(found, low, high)])  # fmt: skip
    level = same[0].get("settings", {}).get("level") if isinstance(same[0].get("settings"), dict) else None
    share = f"{level:.0%} interval" if isinstance(level, float) else "interval"
    return table(["metric", "model", "value", share, Markup("<span class=\"muted\">picture</span>")], rows,
                 caption=caption, class_="metrics")  # fmt: skip


def interval(found: Mapping[str, float], low: float, high: float) -> Markup:
    """A dot on a line from low to high, all of a metric on one scale; where zero is inside, a mark."""
    span = (high - low) or 1.0

    def place(value: float) -> str:
        return number(6 + (value - low) / span * 148)

    marks = [tag("path", d="M6 9H154", class_="grid")]
    if low < 0 < high:
        marks.append(tag("path", d=f"M{place(0)} 2V16", class_="zero"))
    marks.append(tag("path", d=f"M{place(found['low'])} 9H{place(found['high'])}", class_="whisker"))
    marks.append(tag("circle", cx=place(found["value"]), cy=9, r=4, class_="value"))
    return tag("svg", *marks, viewBox="0 0 160 18", class_="interval", aria_hidden="true")


def _difference(result: dict[str, Any]) -> list[Markup]:
    found, other = result.get("difference"), result.get("against")
    if not isinstance(found, dict) or not isinstance(other, dict):
        return []
    caption = f"{result['model'].get('name')} minus {other.get('name')}, on the same examples"
    rows: list[list[object]] = []
    for name, value in found.items():
        apart = name == "agreement" or value["low"] > 0 or value["high"] < 0
        said = f"{figure(value['low'])} to {figure(value['high'])}"
        low, high = (min(0.0, value["low"]), max(0.0, value["high"]))
        rows.append([name, figure(value["value"]), said, interval(value, low, high),
                     "" if name == "agreement" else "differs" if apart else "may be chance"])  # fmt: skip
    return [table(["metric", "difference", "interval", "picture", "zero outside the interval"], rows, caption=caption,
                  class_="metrics")]  # fmt: skip


def _confusion(result: dict[str, Any]) -> list[Markup]:
    """Truth by guesses; the darker a cell, the larger its share of the row."""
    found = result.get("confusion")
    labels, counts = (found.get("labels"), found.get("counts")) if isinstance(found, dict) else (None, None)
    if not (isinstance(labels, list) and isinstance(counts, list) and 0 < len(labels) <= 30):
        return []
    rows: list[list[object]] = []
    for name, row in zip(labels, counts, strict=False):
        total = sum(row) or 1
        rows.append([name, *(tag("td", f"{count:,}", class_=f"number h{round(9 * count / total)}") for count in row)])
    head = ["truth \\ guess", *labels]
    return [table(head, rows, caption=f"Guesses of {result['model'].get('name')}", class_="confusion")]
