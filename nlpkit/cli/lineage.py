"""nlpkit lineage"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from nlpkit.cli import options, recorded
from nlpkit.cli.output import call
from nlpkit.cli.terminal import tell, visible

LINE = 100  # characters of options on a terminal; all of them elsewhere


def command(
    path: Annotated[Path, Argument(help="An artefact: a file that nlpkit wrote.", metavar="FILE")],
    json: options.Json = False,
) -> None:
    """Where a file came from: the commands behind it, their options, and the files that they began with.

    Examples:

    nlpkit lineage student.safetensors

    nlpkit lineage student.safetensors --json | jq '.inputs[].name'
    """
    call("lineage", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A tree, one file a line. The history of a file is printed once; on a terminal lines are cut."""
    width = LINE if sys.stdout.isatty() else None
    _branch(result, "", "", width)


def _branch(node: dict[str, Any], lead: str, below: str, width: int | None) -> None:
    origin = f"  <- nlpkit {node['command']}{_options(node, width)}" if node.get("command") else ""
    again = "  (as above)" if node.get("repeated") else ""
    tell(f"{lead}{node['name']}  {node['sha256'][:12]}{origin}{again}")
    inputs = node.get("inputs", [])
    for number, child in enumerate(inputs):
        last = number + 1 == len(inputs)
        _branch(child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}", width)


def _options(node: dict[str, Any], width: int | None) -> str:
    """The options: those that differ from the defaults, then the others that are not None."""
    differing, others = recorded.options(node["command"], node["options"])
    text = visible(recorded.words({**differing, **others}))
    return f" ({text if width is None or len(text) <= width else text[: width - 3] + '...'})" if text else ""
