"""The files behind the runs as a drawn graph: each file once, what it was made of to its left.

Layers as in Sugiyama et al. 1981: a file stands one column right of the last of its inputs, one that no stage made
just left of the first file that was made of it; an edge over several columns goes through places of its own; the order
inside a column is that of the neighbours' middles, swept to and fro a few times. Everything is ordered by what was
found first, so the same files give the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nlpkit.reporting.chart import colour, letter, number
from nlpkit.reporting.html import Markup, join, tag
from nlpkit.reporting.sources import Run, clean

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 150, 50, 44, 14, 4
PASSING = 8  # height kept for an edge that passes
SWEEPS = 6


@dataclass
class Node:
    """A file: ``made`` is the provenance of the stage that wrote it, None of a file that no stage made. Its ``inputs``
    are (role, sha256)."""

    name: str
    sha256: str
    made: Mapping[str, Any] | None
    kind: str
    run: int | None = None
    inputs: list[tuple[str, str]] = field(default_factory=list)


def graph(runs: list[Run]) -> dict[str, Node]:
    """Every file that is known of, by sha256. Of an unfinished run, whose result has none yet, by its letter."""
    found: dict[str, Node] = {}
    for place, run in enumerate(runs):
        history = run.artifact.metadata["history"] if run.artifact is not None else {}
        if not run.asked["inputs"] and run.artifact is None:
            continue  # a log that does not say what was read
        sha = run.sha256 or f"run {letter(place)}"
        _enter(found, run.name, sha, run.asked, history, run.kind)
        found[sha].run = place
    # A file cannot be behind itself, its sha256 holds theirs; but a log may say so.
    whole = dict.fromkeys(_inputs_last(found))
    for sha in whole:
        found[sha].inputs = [(role, given) for role, given in found[sha].inputs if given in whole]
    return {sha: node for sha, node in found.items() if sha in whole}


def _enter(
    found: dict[str, Node],
    name: str,
    sha: str,
    made: Mapping[str, Any] | None,
    history: Mapping[str, Any],
    kind: str | None,
) -> None:
    """A file and, without recursion, all that is behind it. What is known of a file from elsewhere is kept."""
    waiting = [(name, sha, made, kind)]
    while waiting:
        name, sha, made, kind = waiting.pop(0)
        node = found.get(sha)
        if node is None:
            node = found[sha] = Node(name, sha, None, "file")
        if kind:
            node.kind = kind
        if made is None or node.made is not None:
            continue
        made = clean(made)
        node.made, node.kind = made, kind or _kind(str(made["command"]))
        for given in made["inputs"]:
            node.inputs.append((given["role"], given["sha256"]))
            waiting.append((given["name"], given["sha256"], history.get(given["sha256"]), None))


def _kind(command: str) -> str:
    """What a command writes, where no artefact says it."""
    return {"tokenizer train": "tokenizer", "tokens": "tokens", "vectors train": "vectors"}.get(command, "model")


def layers(nodes: Mapping[str, Node]) -> list[list[str]]:
    """Columns of sha256 and of places for edges that pass ("from>to>column"), left to right, ordered."""
    column_of: dict[str, int] = {}
    order = _inputs_last(nodes)[::-1]
    for sha in order:
        column_of[sha] = 1 + max((column_of[given] for _, given in nodes[sha].inputs), default=-1)
    users: dict[str, list[int]] = {}
    for sha in order:
        for _, given in nodes[sha].inputs:
            users.setdefault(given, []).append(column_of[sha])
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
        for given in dict.fromkeys(given for _, given in node.inputs):
            before = given
            for column in range(column_of[given] + 1, column_of[sha]):
                passing = f"{given}>{sha}>{column}"
                columns[column].append(passing)
                link(before, passing)
                before = passing
            link(before, sha)
    for sweep in range(SWEEPS):
        _sort(columns, links, backwards=sweep % 2 == 1)
    return columns


def _inputs_last(nodes: Mapping[str, Node]) -> list[str]:
    """Every file before its inputs; those behind themselves are left out."""
    left = {sha: 0 for sha in nodes}
    for node in nodes.values():
        for _, given in node.inputs:
            left[given] += 1
    ready = [sha for sha, count in left.items() if count == 0]
    order: list[str] = []
    while ready:
        order.append(ready.pop(0))
        for _, given in nodes[order[-1]].inputs:
            left[given] -= 1
            if left[given] == 0:
                ready.append(given)
    return order


def _sort(columns: list[list[str]], links: Mapping[str, list[str]], *, backwards: bool) -> None:
    """One sweep: each column by the middle of its neighbours in the column before."""
    numbers = list(range(len(columns)))
    for here in reversed(numbers[:-1]) if backwards else numbers[1:]:
        beside = columns[here + 1] if backwards else columns[here - 1]
        at = {name: place - (len(beside) - 1) / 2 for place, name in enumerate(beside)}
        middles = {}
        for place, name in enumerate(columns[here]):
            near = [at[other] for other in links.get(name, ()) if other in at]
            middles[name] = sum(near) / len(near) if near else place - (len(columns[here]) - 1) / 2
        columns[here].sort(key=lambda name, middles=middles: middles[name])  # type: ignore[misc]


def drawn(runs: list[Run]) -> Markup:
    """The picture, and the same as a list; nothing when no run says where it came from."""
    nodes = graph(runs)
    if not any(node.inputs for node in nodes.values()):
        return Markup("")
    columns = layers(nodes)
    heights = [sum(_height(name, nodes) + GAP_Y for name in column) - GAP_Y for column in columns]
    high = max(heights) + 2 * MARGIN
    wide = len(columns) * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    at: dict[str, tuple[float, float]] = {}  # left edge and middle
    for place, column in enumerate(columns):
        y = (high - heights[place]) / 2
        for name in column:
            at[name] = (MARGIN + place * (BOX_WIDTH + GAP_X), y + _height(name, nodes) / 2)
            y += _height(name, nodes) + GAP_Y
    edges = [_edge(given, sha, role, at) for sha, node in nodes.items() for role, given in node.inputs]
    boxes = [_box(node, *at[sha]) for sha, node in nodes.items()]
    said = f"Lineage: {len(nodes)} files, from {sum(not node.inputs for node in nodes.values())} that no stage made"
    box = f"0 0 {wide} {number(high)}"
    svg = tag("svg", tag("title", said), *edges, *boxes, viewBox=box, width=wide, role="img", class_="lineage")
    frame = tag("div", svg, class_="scroll", role="group", aria_label="Lineage", tabindex="0")
    return join([frame, tag("details", tag("summary", "The same as a list"), _listed(nodes))])


def _height(name: str, nodes: Mapping[str, Node]) -> int:
    return BOX_HEIGHT if name in nodes else PASSING


def _edge(given: str, sha: str, role: str, at: Mapping[str, tuple[float, float]]) -> Markup:
    """A curve from file to file through the places that were kept for it."""
    stops = [at[given], *(at[name] for name in sorted(_passing(given, sha, at), key=lambda name: at[name][0])), at[sha]]
    x, y = stops[0][0] + BOX_WIDTH, stops[0][1]
    path = f"M{number(x)} {number(y)}"
    for place, (x2, y2) in enumerate(stops[1:], start=1):
        half = number((x + x2) / 2)
        path += f"C{half} {number(y)} {half} {number(y2)} {number(x2)} {number(y2)}"
        x, y = (x2 + BOX_WIDTH, y2) if place < len(stops) - 1 else (x2, y2)
        if place < len(stops) - 1:
            path += f"H{number(x)}"
    end = tag("path", d=f"M{number(x - 6)} {number(y - 3.5)}L{number(x)} {number(y)}L{number(x - 6)} {number(y + 3.5)}",
              class_="arrow")  # fmt: skip
    return tag("g", tag("title", role), tag("path", d=path), end, class_="edge")


def _passing(given: str, sha: str, at: Mapping[str, tuple[float, float]]) -> list[str]:
    return [name for name in at if name.startswith(f"{given}>{sha}>")]


def _box(node: Node, x: float, y: float) -> Markup:
    """A file, around a middle: its name, the command that made it, its sha256; a run of this report in its colour."""
    made = "no stage made it" if node.made is None else f"nlpkit {node.made['command']}"
    sha = "not finished" if node.sha256.startswith("run ") else node.sha256[:12]
    y -= BOX_HEIGHT / 2
    rect = tag("rect", x=number(x), y=number(y), width=BOX_WIDTH, height=BOX_HEIGHT, rx=5)
    lines = [
        tag("text", _cut(node.name.removesuffix(".safetensors"), 18), x=number(x + 9), y=number(y + 17), class_="name"),
        tag("text", _cut(f"{node.kind}" if node.made is None else made, 24), x=number(x + 9), y=number(y + 31)),
        tag("text", sha, x=number(x + 9), y=number(y + 44), class_="sha"),
    ]
    if node.run is not None:
        lines.append(tag("text", letter(node.run), x=number(x + BOX_WIDTH - 9), y=number(y + 44), text_anchor="end",
                         class_=f"letter {colour(node.run)}"))  # fmt: skip
    title = tag("title", f"{node.name}\n{node.kind}, {made}\nsha256 {node.sha256}")
    mine = "made" if node.made is not None else "source"
    return tag("g", title, rect, *lines,
               class_=f"node {mine}{'' if node.run is None else f' {colour(node.run)} run'}")  # fmt: skip


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _listed(nodes: Mapping[str, Node]) -> Markup:
    """Each file with what it was made of, for those who do not see the picture."""
    items = []
    for sha in _inputs_last(nodes):
        node = nodes[sha]
        made = "" if node.made is None else f", made by nlpkit {node.made['command']} from "
        inputs = ", ".join(f"{nodes[given].name} ({role})" for role, given in node.inputs) or "no file"
        items.append(tag("li", tag("span", node.name, class_="name"), f" ({node.kind}) ", tag("code", sha),
                         f"{made}{inputs if node.made is not None else ''}"))  # fmt: skip
    return tag("ul", *items)
