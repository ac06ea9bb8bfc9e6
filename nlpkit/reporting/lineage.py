"""The files behind the runs as a drawn graph: each file once, its inputs to its left.

Layers as in Sugiyama et al. 1981: a file stands one column right of the last of its inputs, one that no stage made
just left of the first file that was made of it; an edge over several columns has a dummy node in each column
between; a few sweeps to and fro order each column by the mean position of the neighbours. Ties stand in the order of
the input files, so the same files give the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nlpkit.reporting.chart import colour, letter, number
from nlpkit.reporting.html import Markup, join, tag
from nlpkit.reporting.sources import Run, clean

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 150, 50, 44, 14, 4
PASSING = 8  # height of a dummy node, through which an edge passes
SWEEPS = 6


@dataclass
class Node:
    """A file: ``provenance`` is that of the stage that wrote it, None of a file that no stage made. Its ``inputs`` are
    (role, sha256)."""

    name: str
    sha256: str
    provenance: Mapping[str, Any] | None
    kind: str
    run: int | None = None
    inputs: list[tuple[str, str]] = field(default_factory=list)


def graph(runs: list[Run]) -> dict[str, Node]:
    """Every known file by sha256; an unfinished run, whose result has no sha256 yet, by its letter."""
    nodes: dict[str, Node] = {}
    for index, run in enumerate(runs):
        history = run.artifact.metadata["history"] if run.artifact is not None else {}
        if not run.provenance["inputs"] and run.artifact is None:
            continue  # a log that does not say what was read
        sha = run.sha256 or f"run {letter(index)}"
        _enter(nodes, run.name, sha, run.provenance, history, run.kind)
        nodes[sha].run = index
    # A file's sha256 depends on those of its inputs, so no file is its own input; but a log may say so.
    whole = dict.fromkeys(_inputs_last(nodes))
    for sha in whole:
        nodes[sha].inputs = [(role, source) for role, source in nodes[sha].inputs if source in whole]
    return {sha: node for sha, node in nodes.items() if sha in whole}


def _enter(
    nodes: dict[str, Node],
    name: str,
    sha: str,
    provenance: Mapping[str, Any] | None,
    history: Mapping[str, Any],
    kind: str | None,
) -> None:
    """Add a file and, without recursion, all that it was made from; what another run said of a file stays."""
    waiting = [(name, sha, provenance, kind)]
    while waiting:
        name, sha, provenance, kind = waiting.pop(0)
        node = nodes.get(sha)
        if node is None:
            node = nodes[sha] = Node(name, sha, None, "file")
        if kind:
            node.kind = kind
        if provenance is None or node.provenance is not None:
            continue
        provenance = clean(provenance)
        node.provenance, node.kind = provenance, kind or _kind(str(provenance["command"]))
        for item in provenance["inputs"]:
            node.inputs.append((item["role"], item["sha256"]))
            waiting.append((item["name"], item["sha256"], history.get(item["sha256"]), None))


def _kind(command: str) -> str:
    """What a command writes, where no artefact says it."""
    return {"tokenizer train": "tokenizer", "tokens": "tokens", "vectors train": "vectors"}.get(command, "model")


def layers(nodes: Mapping[str, Node]) -> list[list[str]]:
    """Columns of sha256 and of dummy nodes ("from>to>column"), left to right, ordered."""
    column_of: dict[str, int] = {}
    order = _inputs_last(nodes)[::-1]
    for sha in order:
        column_of[sha] = 1 + max((column_of[source] for _, source in nodes[sha].inputs), default=-1)
    users: dict[str, list[int]] = {}
    for sha in order:
        for _, source in nodes[sha].inputs:
            users.setdefault(source, []).append(column_of[sha])
    for sha in order:
        if not nodes[sha].inputs and sha in users:
            column_of[sha] = min(users[sha]) - 1
    columns: list[list[str]] = [[] for _ in range(1 + max(column_of.values(), default=0))]
    links: dict[str, list[str]] = {}

    def link(left: str, right: str) -> None:
        links.setdefault(left, []).append(right)
        links.setdefault(right, []).append(left)

    for sha in nodes:
        columns[column_of[sha]].append(sha)
    for sha, node in nodes.items():
        for source in dict.fromkeys(source for _, source in node.inputs):
            before = source
            for column in range(column_of[source] + 1, column_of[sha]):
                passing = f"{source}>{sha}>{column}"
                columns[column].append(passing)
                link(before, passing)
                before = passing
            link(before, sha)
    for sweep in range(SWEEPS):
        _sort(columns, links, backwards=sweep % 2 == 1)
    return columns


def _inputs_last(nodes: Mapping[str, Node]) -> list[str]:
    """Every file before its inputs; files that are their own inputs are left out."""
    left = {sha: 0 for sha in nodes}
    for node in nodes.values():
        for _, source in node.inputs:
            left[source] += 1
    ready = [sha for sha, count in left.items() if count == 0]
    order: list[str] = []
    while ready:
        order.append(ready.pop(0))
        for _, source in nodes[order[-1]].inputs:
            left[source] -= 1
            if left[source] == 0:
                ready.append(source)
    return order


def _sort(columns: list[list[str]], links: Mapping[str, list[str]], *, backwards: bool) -> None:
    """One sweep: each column by the mean position of its neighbours in the column before."""
    numbers = list(range(len(columns)))
    for here in reversed(numbers[:-1]) if backwards else numbers[1:]:
        beside = columns[here + 1] if backwards else columns[here - 1]
        at = {name: position - (len(beside) - 1) / 2 for position, name in enumerate(beside)}
        middles = {}
        for position, name in enumerate(columns[here]):
            near = [at[other] for other in links.get(name, ()) if other in at]
            middles[name] = sum(near) / len(near) if near else position - (len(columns[here]) - 1) / 2
        columns[here].sort(key=lambda name, middles=middles: middles[name])  # type: ignore[misc]


def draw(runs: list[Run]) -> Markup:
    """The picture, and the same as a list; empty when no run records its inputs."""
    nodes = graph(runs)
    if not any(node.inputs for node in nodes.values()):
        return Markup("")
    columns = layers(nodes)
    heights = [sum(_height(name, nodes) + GAP_Y for name in column) - GAP_Y for column in columns]
    high = max(heights) + 2 * MARGIN
    wide = len(columns) * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    at: dict[str, tuple[float, float]] = {}  # left edge and middle
    for index, column in enumerate(columns):
        y = (high - heights[index]) / 2
        for name in column:
            at[name] = (MARGIN + index * (BOX_WIDTH + GAP_X), y + _height(name, nodes) / 2)
            y += _height(name, nodes) + GAP_Y
    edges = [_edge(source, sha, role, at) for sha, node in nodes.items() for role, source in node.inputs]
    boxes = [_box(node, *at[sha]) for sha, node in nodes.items()]
    title = f"Lineage: {len(nodes)} files, from {sum(not node.inputs for node in nodes.values())} that no stage made"
    box = f"0 0 {wide} {number(high)}"
    svg = tag("svg", tag("title", title), *edges, *boxes, viewBox=box, width=wide, role="img", class_="lineage")
    frame = tag("div", svg, class_="scroll", role="group", aria_label="Lineage", tabindex="0")
    return join([frame, tag("details", tag("summary", "The same as a list"), _listed(nodes))])


def _height(name: str, nodes: Mapping[str, Node]) -> int:
    return BOX_HEIGHT if name in nodes else PASSING


def _edge(source: str, sha: str, role: str, at: Mapping[str, tuple[float, float]]) -> Markup:
    """A curve from file to file through the edge's dummy nodes."""
    stops = [
        at[source],
        *(at[name] for name in sorted(_passing(source, sha, at), key=lambda name: at[name][0])),
        at[sha],
    ]
    x, y = stops[0][0] + BOX_WIDTH, stops[0][1]
    path = f"M{number(x)} {number(y)}"
    for index, (x2, y2) in enumerate(stops[1:], start=1):
        half = number((x + x2) / 2)
        path += f"C{half} {number(y)} {half} {number(y2)} {number(x2)} {number(y2)}"
        x, y = (x2 + BOX_WIDTH, y2) if index < len(stops) - 1 else (x2, y2)
        if index < len(stops) - 1:
            path += f"H{number(x)}"
    end = tag(
        "path",
        d=f"M{number(x - 6)} {number(y - 3.5)}L{number(x)} {number(y)}L{number(x - 6)} {number(y + 3.5)}",
        class_="arrow",
    )
    return tag("g", tag("title", role), tag("path", d=path), end, class_="edge")


def _passing(source: str, sha: str, at: Mapping[str, tuple[float, float]]) -> list[str]:
    return [name for name in at if name.startswith(f"{source}>{sha}>")]


def _box(node: Node, x: float, y: float) -> Markup:
    """A file, around a middle: its name, the command that made it, its sha256; a run of this report in its colour."""
    origin = "no stage made it" if node.provenance is None else f"nlpkit {node.provenance['command']}"
    sha = "not finished" if node.sha256.startswith("run ") else node.sha256[:12]
    y -= BOX_HEIGHT / 2
    rect = tag("rect", x=number(x), y=number(y), width=BOX_WIDTH, height=BOX_HEIGHT, rx=5)
    lines = [
        tag("text", _cut(node.name.removesuffix(".safetensors"), 18), x=number(x + 9), y=number(y + 17), class_="name"),
        tag("text", _cut(f"{node.kind}" if node.provenance is None else origin, 24), x=number(x + 9), y=number(y + 31)),
        tag("text", sha, x=number(x + 9), y=number(y + 44), class_="sha"),
    ]
    if node.run is not None:
        lines.append(
            tag(
                "text",
                letter(node.run),
                x=number(x + BOX_WIDTH - 9),
                y=number(y + 44),
                text_anchor="end",
                class_=f"letter {colour(node.run)}",
            )
        )
    title = tag("title", f"{node.name}\n{node.kind}, {origin}\nsha256 {node.sha256}")
    mine = "made" if node.provenance is not None else "source"
    return tag("g", title, rect, *lines, class_=f"node {mine}{'' if node.run is None else f' {colour(node.run)} run'}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _listed(nodes: Mapping[str, Node]) -> Markup:
    """Each file with what it was made of, for screen readers."""
    items = []
    for sha in _inputs_last(nodes):
        node = nodes[sha]
        origin = "" if node.provenance is None else f", made by nlpkit {node.provenance['command']} from "
        inputs = ", ".join(f"{nodes[source].name} ({role})" for role, source in node.inputs) or "no file"
        items.append(
            tag(
                "li",
                tag("span", node.name, class_="name"),
                f" ({node.kind}) ",
                tag("code", sha),
                f"{origin}{inputs if node.provenance is not None else ''}",
            )
        )
    return tag("ul", *items)
