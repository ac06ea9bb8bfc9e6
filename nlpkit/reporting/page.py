"""The page: one file that needs no network.

Its content security policy allows nothing but the style and the script that stand in it, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from nlpkit._version import __version__
from nlpkit.reporting import attention, chart, curves, lineage, scores, tables
from nlpkit.reporting.attention import AttentionMaps
from nlpkit.reporting.html import Markup, data, join, table, tag
from nlpkit.reporting.sources import Sources

AXES = {"step": "steps", "tokens": "tokens", "time": "time"}


def page(sources: Sources, *, title: str, text: str | None = None, maps: list[AttentionMaps] | None = None) -> str:
    """The whole page. ``text`` is what the models of ``maps`` read."""
    script_data: dict[str, Any] = {"names": [run.title for run in sources.runs], "charts": {}, "attention": []}
    sections = {
        "Runs": _runs(sources),
        "Learning curves": _curves(sources, script_data["charts"]),
        "Evaluation": join(scores.evaluations(sources.evaluations, sources.runs)),
        "Options": tables.options(sources.runs),
        "Attention": _attention(sources, text or "", maps or [], script_data["attention"]),
        "Lineage": lineage.draw(sources.runs),
        "Files": _files(sources),
    }
    shown = {name: content for name, content in sections.items() if content}
    links = [tag("a", name, href=f"#{_ident(name)}") for name in shown]
    body = [
        tag("a", "Skip to the runs", href="#runs", class_="skip"),
        tag(
            "header",
            tag("h1", title),
            tag("p", _contents(sources), class_="muted"),
            tag("nav", *links, aria_label="Sections"),
        ),
        tag(
            "main",
            *(
                tag("section", tag("h2", name, id=_ident(name)), content, aria_labelledby=_ident(name))
                for name, content in shown.items()
            ),
        ),
        tag("footer", f"Made by nlpkit {__version__} from the files above: the same files give the same page."),
        tag("div", id="tip", hidden=True),
        tag("script", data(script_data), type="application/json", id="data"),
    ]
    style, script = (
        Markup(files("nlpkit").joinpath(f"reporting/page.{kind}").read_text("utf-8")) for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    ]
    whole = tag("html", tag("head", *head), tag("body", *body, tag("script", script)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _ident(name: str) -> str:
    return name.lower().replace(" ", "-")


def _contents(sources: Sources) -> str:
    counts = [(len(sources.runs), "run"), (len(sources.evaluations), "evaluation"), (len(sources.files), "file")]
    runs, measured, n_files = (f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    return f"{runs}{f' and {measured}' if sources.evaluations else ''} from {n_files}"


def _runs(sources: Sources) -> Markup:
    if not sources.runs:
        return Markup("")
    return join([*tables.verdicts(sources.runs), tables.runs_table(sources.runs)])


def _curves(sources: Sources, script: dict[str, Any]) -> Markup:
    """Each group's charts; what a model learns is drawn by step, tokens or time, as chosen (without a script too)."""
    groups = curves.groups(sources.runs)
    if not groups:
        return Markup("")
    names = [run.title for run in sources.runs]
    axes = [axis for axis in AXES if any(axis in group.charts for group in groups)]
    chosen = [
        join(
            [
                tag("input", type="radio", name="axis", id=f"by-{axis}", checked=axis == "step", class_="axis-choice"),
                tag("label", AXES[axis], for_=f"by-{axis}"),
            ]
        )
        for axis in axes
    ]
    figures = []
    for group in groups:
        box = [tag("input", type="checkbox", checked=True, class_="run-choice", data_run=run) for run in group.runs]
        legend = [
            tag(
                "label",
                box[index] if len(box) > 1 else "",
                " ",
                tables.badge(run),
                " ",
                tag("span", names[run], class_="name"),
            )
            for index, run in enumerate(group.runs)
        ]
        drawings = []
        for axis, charts in group.charts.items():
            for one in charts:
                ident = f"chart{len(script)}"
                figure, script[ident] = chart.draw(one, names, ident)
                # Where a group has no such axis, its charts by step stand in for them.
                kinds = [f"x-{axis}"] if axis else []
                kinds += [f"x-{other}" for other in axes if axis == "step" and other not in group.charts]
                drawings.append(tag("div", figure, class_=" ".join(["plot", *kinds])))
        figures.append(
            tag(
                "div",
                tag("h3", group.title),
                tag("div", *legend, class_="legend"),
                tag("div", *drawings, class_="plots"),
                class_="group",
            )
        )
    dev = any(run.logged and run.logged.dev for run in sources.runs)
    note = (
        "Faint: training. Strong, with dots: measured on held-out data; the ring is the best, whose weights were saved."
    )
    notes = [tag("p", note, class_="muted")] if dev else []
    gone = sum(run.logged.gone for run in sources.runs if run.logged)
    if gone:
        notes.append(tag("p", f"{gone:,} logged values are not finite numbers and are not drawn.", class_="muted"))
    choice = [tag("span", "by ", class_="muted choose"), *chosen] if len(axes) > 1 else []
    return tag("div", *choice, *notes, *figures, class_="curves")


def _attention(sources: Sources, text: str, maps: list[AttentionMaps], script: list[Any]) -> Markup:
    if not maps:
        return Markup("")
    parts = [
        tag(
            "p",
            "Where each head looks in ",
            tag("q", text),
            ". Rows look at columns; the shade grows with the square root of the weight.",
        )
    ]
    for one in maps:
        figure, entry = attention.draw(one, sources.runs[one.run].title, f"attention{len(script)}")
        script.append(entry)
        parts.append(figure)
    return join(parts)


def _files(sources: Sources) -> Markup:
    rows: list[list[object]] = [
        [tag("span", source.name, class_="name"), source.what, tag("code", source.sha256)] for source in sources.files
    ]
    return table(["file", "what", "sha256"], rows, caption="Files that this page was made from", class_="plain")
