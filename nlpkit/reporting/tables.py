"""A report's tables of runs: what they are, and how their options differ."""

from __future__ import annotations

import json

from nlpkit.reporting.chart import clock, colour, letter
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
    return table(
        [head[column] for column in kept],
        [[row[column] for column in kept] for row in rows],
        caption="Runs",
        class_="plain",
    )


def _run_row(place: int, run: Run) -> list[object]:
    logged = run.logged or Logged()
    steps: str = ABSENT if run.steps is None else f"{run.steps:,}"
    if run.unfinished and logged.steps:
        steps = f"{run.steps or 0:,} of {logged.steps:,}, not finished"
    loss = logged.curves.get("loss")
    seconds = logged.seconds[-1][1] if logged.seconds else 0.0
    tokens = logged.tokens[-1][1] if logged.tokens else 0.0
    seed = run.asked["seed"]
    return [
        join([badge(place), " ", tag("span", run.title, class_="name")]), run.command, run.kind or ABSENT,
        ABSENT if run.parameters is None else f"{run.parameters:,}", steps, f"{tokens:,.0f}" if tokens else ABSENT,
        figure(loss[-1][1]) if loss else ABSENT, best(run), ABSENT if seed is None else str(seed),
        f"{tokens / seconds:,.0f}" if seconds else ABSENT, clock(seconds) if seconds else ABSENT,
        fingerprint(run.sha256),
    ]  # fmt: skip


def best(run: Run) -> str:
    """The evaluation whose weights were kept: its step, and the metric that chose it (all, where that is not known)."""
    if run.best is None:
        return ABSENT
    dev = {} if run.logged is None else run.logged.dev
    found = {name: value for name, points in dev.items() for step, value in points if step == run.best}
    chosen = None if run.logged is None else run.logged.chosen_by
    said = ", ".join(f"{name} {figure(value)}" for name, value in found.items() if chosen in (name, None))
    return f"{said} (step {run.best:,})" if said else f"step {run.best:,}"


def options(runs: list[Run]) -> Markup:
    """For each command, in what its runs differ, and (folded, where there are several) all they were told."""
    by_command: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        if run.options:
            by_command.setdefault(run.command, []).append(place)
    made: list[Markup] = []
    whole = {command: _options_table(places, runs, differing=False) for command, places in by_command.items()}
    for command, places in by_command.items():
        if len(places) > 1:
            differing = _options_table(places, runs, differing=True)
            made += [tag("h3", command), differing or tag("p", "The runs were told the same.", class_="muted")]
    if len(runs) == 1:
        return join(whole.values())
    folded = [join([tag("h3", command), table]) for command, table in whole.items()]
    return join([*made, tag("details", tag("summary", "All options of every run"), *folded)]) if folded else Markup("")


def _options_table(places: list[int], runs: list[Run], *, differing: bool) -> Markup:
    """Options, inputs and versions of some runs, a row each; with ``differing`` only those that differ, if any do."""
    told = [_told(runs[place]) for place in places]
    names = sorted({name for one in told for name in one}, key=lambda name: (name.startswith("version of "), name))
    rows: list[list[object]] = [[name, *(one.get(name, ABSENT) for one in told)] for name in names]
    if differing:
        rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return Markup("")
    who: list[object] = [join([badge(place), " ", tag("span", runs[place].title, class_="name")]) for place in places]
    caption = "What differs" if differing else "What was asked"
    if len(places) > max(6, len(rows)):  # a run a row
        turned = [[one, *(row[place + 1] for row in rows)] for place, one in enumerate(who)]
        return table(["run", *(row[0] for row in rows)], turned, caption=caption, class_="options")
    return table(["option", *who], rows, caption=caption, class_="options")


def _told(run: Run) -> dict[str, str]:
    """Everything a run was told, in words; an option that is None was not given."""
    found = {"command": run.command}
    for name, value in run.options.items():
        if value is not None:
            found[name.replace("_", "-")] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for item in run.asked["inputs"]:
        role, said = f"input {item['role']}", f"{item['name']} {item['sha256'][:12]}"
        found[role] = f"{found[role]}, {said}" if role in found else said
    for name, value in run.asked["versions"].items():
        found[f"version of {name}"] = str(value)
    return found
