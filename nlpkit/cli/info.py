"""nlpkit info"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output, recorded
from nlpkit.cli.terminal import tell, visible


def command(
    path: Annotated[Path, Argument(help="An artefact: a file that nlpkit wrote.", metavar="FILE")],
    check: Annotated[
        bool, Option("--check/--no-check", help="Also compare each tensor's bytes with its checksum.")
    ] = False,
    json: options.Json = False,
) -> None:
    """What a file holds: kind, config, tensors, tokenizer, and the command that made it, with the paths of those
    inputs that are in the file's folder, the current one, or 3 levels below that.

    Examples:

    nlpkit info bert.safetensors

    nlpkit info bert.safetensors --json | jq .config
    """
    output.call("info", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """The same, for people."""
    tell(f"{result['path']}: {result['kind']}, {output.human_bytes(result['bytes'])}")
    tell(f"sha256   {result['sha256']}")
    if result["provenance"].get("command"):
        located = {**result["provenance"], "inputs": result["inputs"]}
        tell(f"made by  {recorded.command_line(located, result['path'])}")
        for item in result["inputs"]:
            if item["path"] is None:
                tell(f"missing  {missing(item)}")
    for name, value in sorted(result["config"].items()):
        tell(f"  {name} = {short(value)}")
    for name, entry in result["tensors"].items():
        tell(f"  {visible(name):<56} {entry['dtype']:<5} {entry['shape']}")


def missing(item: Mapping[str, Any]) -> str:
    """An input whose path the command line above does not have."""
    if item["name"] == "-":
        return f"what was read from stdin, sha256 {item['sha256'][:16]}"
    return f"{visible(item['name'])}, sha256 {item['sha256'][:16]}: not found near; write its path into the command"


def short(value: Any) -> Any:
    """A value of the config; the length of a long list, such as a vocabulary, and the fields of a search's record."""
    if isinstance(value, dict) and "points" in value:
        return f"{{{', '.join(value)}}}, see --json"
    return f"[{len(value):,} values]" if isinstance(value, list) and len(value) > 20 else value
