"""nlpkit diff"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from nlpkit.base.errors import CheckFailed
from nlpkit.cli import options
from nlpkit.cli.output import call
from nlpkit.cli.terminal import tell, visible

WIDTH = 120


def command(
    left: Annotated[Path, Argument(help="An artefact: a file that nlpkit wrote.", metavar="LEFT")],
    right: Annotated[Path, Argument(help="Another artefact.", metavar="RIGHT")],
    json: options.Json = False,
) -> None:
    """How two files differ: config, options, inputs, versions, tensors. Exit 0 when they are the same bytes, else 3.

    Examples:

    nlpkit diff monday.safetensors tuesday.safetensors

    nlpkit diff teacher.safetensors student.safetensors --json
    """
    result = call("diff", locals(), json=json, show=show)
    if not result["equal"]:
        from nlpkit.artifact.diff import first_difference

        raise CheckFailed(f"differ; first: {first_difference(result)}", where=f"{left} {right}")


def show(result: dict[str, Any]) -> None:
    """A summary of the tensors, then the differences by part of the file."""
    if result["equal"]:
        tell("the same bytes")
        return
    tell(f"tensors: {_summary(result)}")
    parts: dict[str, dict[str, list[Any]]] = {}
    for key, values in result["metadata"].items():
        above = key.split(".")[: 2 if key.startswith("provenance.") else 1]
        part = ".".join(above) if key.count(".") >= len(above) else "provenance" if len(above) > 1 else ""
        parts.setdefault(part, {})[key.removeprefix(f"{part}.")] = values
    for part, differences in sorted(parts.items()):
        if part:
            tell(part)
        _metadata(differences)
    _tensors(result["tensors"])


def _summary(result: Mapping[str, Any]) -> str:
    same, missing = result["same_tensors"], {"left": 0, "right": 0}
    for difference in result["tensors"].values():
        if difference["what"] == "missing":
            missing["left" if difference["from"] == "right" else "right"] += 1
    both = same + len(result["tensors"]) - sum(missing.values())
    if same == both and not any(missing.values()):
        return f"all {same:,} the same bytes"
    parts = ["none is in both" if not both else f"{same:,} of the {both:,} that both have are the same bytes"]
    return "; ".join([*parts, *(f"{count:,} only {side}" for side, count in missing.items() if count)])


def _metadata(differences: Mapping[str, list[Any]]) -> None:
    """The keys with different values, a line each; then the keys that only one file has."""
    from nlpkit.artifact.diff import quote

    for key, (left, right) in differences.items():
        if left is not None and right is not None:
            tell(f"  {key}: {quote(left)} | {quote(right)}")
    for number, side in enumerate(("left", "right")):
        _only(
            side,
            [f"{key} {quote(values[number])}" for key, values in differences.items() if values[1 - number] is None],
        )


def _tensors(differences: Mapping[str, Mapping[str, Any]]) -> None:
    if differences:
        tell("tensors")
    for name, tensor in differences.items():
        if tensor["what"] == "values":
            by = "without measure" if tensor["largest"] is None else f"by at most {tensor['largest']:.4g}"
            tell(f"  {name}: {tensor['differing']:,} of {tensor['numbers']:,} numbers, {by} at {tensor['at']}")
        elif tensor["what"] == "shape":
            tell(f"  {name}: {' '.join(map(str, tensor['left']))} | {' '.join(map(str, tensor['right']))}")
    for side, other in (("left", "right"), ("right", "left")):
        _only(
            side,
            [name for name, tensor in differences.items() if tensor["what"] == "missing" and tensor["from"] == other],
        )


def _only(side: str, items: list[str]) -> None:
    if items:
        text = f"only {side}: {', '.join(map(visible, items))}"
        for line in textwrap.wrap(
            text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        ):
            tell(line)
