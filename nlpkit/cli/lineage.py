"""nlpkit lineage"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from nlpkit.cli import options
from nlpkit.cli.output import call


def command(
    path: Annotated[Path, Argument(help="A file of nlpkit's.", metavar="FILE")],
    json: options.Json = False,
) -> None:
    """Where a file came from: the commands behind it, what they were told, and the files it began with.

    Examples:

    nlpkit lineage student.safetensors

    nlpkit lineage student.safetensors --json | jq '.inputs[].name'
    """
    call("lineage", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A tree, one file a line."""
    _branch(result, "", "")


def _branch(node: dict[str, Any], lead: str, below: str) -> None:
    made = f"  <- nlpkit {node['command']}{_told(node['options'])}" if node.get("command") else ""
    print(f"{lead}{node['name']}  {node['sha256'][:12]}{made}")
    inputs = node.get("inputs", [])
    for number, given in enumerate(inputs):
        last = number + 1 == len(inputs)
        _branch(given, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}")


def _told(told: dict[str, Any]) -> str:
    """The options that say the most: what is not None, up to a line."""
    words = " ".join(f"{name.replace('_', '-')}={value}" for name, value in told.items() if value is not None)
    return f" ({words[:97] + '...' if len(words) > 100 else words})" if words else ""
