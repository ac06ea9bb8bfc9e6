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


def verdicts(runs: list[Run]) -> list[Markup]:
    """What each run learnt, as its log says it at the end."""
    return [
        tag("p", badge(index), " ", tag("span", run.title, class_="name"), ": ", run.logged.verdict, class_="verdict")
        for index, run in enumerate(runs)
        if run.logged is not None and run.logged.verdict
    ]


def runs_table(runs: list[Run]) -> Markup:
    """One row a run. Columns that no run fills are left out."""
    head = [
        "run",
        "command",
        "kind",
        "parameters",
        "steps",
        "tokens",
        "last loss",
        "best on dev",
        "seed",
        "tokens/s",
        "time",
        "sha256",
    ]
    rows = [_run_row(index, run) for index, run in enumerate(runs)]
    filled = [column for column in range(len(head)) if any(str(row[column]) != ABSENT for row in rows)]
    return table(
        [head[column] for column in filled],
        [[row[column] for column in filled] for row in rows],
        caption="Runs",
        class_="plain",
    )


def _run_row(index: int, run: Run) -> list[object]:
    logged = run.logged or Logged()
    steps: str = ABSENT if run.steps is None else f"{run.steps:,}"
    if run.unfinished and logged.steps:
        steps = f"{run.steps or 0:,} of {logged.steps:,}, not finished"
    loss = logged.curves.get("loss")
    seconds = logged.seconds[-1][1] if logged.seconds else 0.0
    tokens = logged.tokens[-1][1] if logged.tokens else 0.0
    seed = run.provenance["seed"]
    return [
        join([badge(index), " ", tag("span", run.title, class_="name")]),
        run.command,
        run.kind or ABSENT,
        ABSENT if run.parameters is None else f"{run.parameters:,}",
        steps,
        f"{tokens:,.0f}" if tokens else ABSENT,
        figure(loss[-1][1]) if loss else ABSENT,
        best(run),
        ABSENT if seed is None else str(seed),
        f"{tokens / seconds:,.0f}" if seconds else ABSENT,
        clock(seconds) if seconds else ABSENT,
        fingerprint(run.sha256),
    ]


def best(run: Run) -> str:
    """The evaluation whose weights were saved: its step, and the metric that chose it (all, where it is unknown)."""
    if run.best is None:
        return ABSENT
    dev = {} if run.logged is None else run.logged.dev
    metrics = {name: value for name, points in dev.items() for step, value in points if step == run.best}
    chosen = None if run.logged is None else run.logged.chosen_by
    description = ", ".join(f"{name} {figure(value)}" for name, value in metrics.items() if chosen in (name, None))
    return f"{description} (step {run.best:,})" if description else f"step {run.best:,}"


def options(runs: list[Run]) -> Markup:
    """For each command, the options in which its runs differ and, folded where there are several, all options."""
    by_command: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if run.options:
            by_command.setdefault(run.command, []).append(index)
    parts: list[Markup] = []
    whole = {command: _options_table(indices, runs, differing=False) for command, indices in by_command.items()}
    for command, indices in by_command.items():
        if len(indices) > 1:
            differing = _options_table(indices, runs, differing=True)
            parts += [tag("h3", command), differing or tag("p", "The runs have the same options.", class_="muted")]
    if len(runs) == 1:
        return join(whole.values())
    folded = [join([tag("h3", command), table]) for command, table in whole.items()]
    return join([*parts, tag("details", tag("summary", "All options of every run"), *folded)]) if folded else Markup("")


def _options_table(indices: list[int], runs: list[Run], *, differing: bool) -> Markup:
    """Options, inputs and versions of some runs, a row each; with ``differing`` only those that differ, if any do."""
    settings = [_settings(runs[index]) for index in indices]
    names = sorted({name for one in settings for name in one}, key=lambda name: (name.startswith("version of "), name))
    rows: list[list[object]] = [[name, *(one.get(name, ABSENT) for one in settings)] for name in names]
    if differing:
        rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return Markup("")
    who: list[object] = [join([badge(index), " ", tag("span", runs[index].title, class_="name")]) for index in indices]
    caption = "What differs" if differing else "Recorded options"
    if len(indices) > max(6, len(rows)):  # a run a row
        transposed = [[one, *(row[index + 1] for row in rows)] for index, one in enumerate(who)]
        return table(["run", *(row[0] for row in rows)], transposed, caption=caption, class_="options")
    return table(["option", *who], rows, caption=caption, class_="options")


def _settings(run: Run) -> dict[str, str]:
    """A run's command, options, inputs and versions as text; an option that is None is left out."""
    settings = {"command": run.command}
    for name, value in run.options.items():
        if value is not None:
            settings[name.replace("_", "-")] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
    for item in run.provenance["inputs"]:
        role, text = f"input {item['role']}", f"{item['name']} {item['sha256'][:12]}"
        settings[role] = f"{settings[role]}, {text}" if role in settings else text
    for name, value in run.provenance["versions"].items():
        settings[f"version of {name}"] = str(value)
    return settings
