"""nlpkit diff"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from nlpkit.artifact.diff import first_difference
from nlpkit.cli import options
from nlpkit.cli.output import call
from nlpkit.errors import CheckFailed


def command(
    left: Annotated[Path, Argument(help="A file of nlpkit's.", metavar="LEFT")],
    right: Annotated[Path, Argument(help="Another.", metavar="RIGHT")],
    json: options.Json = False,
) -> None:
    """How two files differ: config, options, inputs, versions, tensors. Exit 0 when they are the same bytes, else 3.

    Examples:

    nlpkit diff monday.safetensors tuesday.safetensors

    nlpkit diff teacher.safetensors student.safetensors --json
    """
    result = call("diff", locals(), json=json, show=show)
    if not result["equal"]:
        raise CheckFailed(f"differ; first: {first_difference(result)}", where=f"{left} {right}")


def show(result: dict[str, Any]) -> None:
    """One difference a line."""
    if result["equal"]:
        print("the same bytes")
    for key, (left, right) in result["metadata"].items():
        print(f"{key}: {left} | {right}")
    for name, what in result["tensors"].items():
        rest = ", ".join(f"{key} {value}" for key, value in what.items() if key != "what")
        print(f'tensor "{name}": {what["what"]}, {rest}')
