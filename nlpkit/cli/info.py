"""nlpkit info"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output


def command(
    path: Annotated[Path, Argument(help="A file of nlpkit's.", metavar="FILE")],
    check: Annotated[bool, Option("--check/--no-check", help="Check every tensor's bytes too.")] = False,
    json: options.Json = False,
) -> None:
    """What a file holds: kind, config, tensors, tokenizer, and the command that made it.

    Examples:

    nlpkit info bert.safetensors

    nlpkit info bert.safetensors --json | jq .config
    """
    output.call("info", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """The same, for people."""
    print(f"{result['path']}: {result['kind']}, {output.human_bytes(result['bytes'])}")
    print(f"sha256   {result['sha256']}")
    options = result["provenance"].get("options", {})
    told = [
        f" --{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in options.items() if value is not None and value is not False
    ]  # fmt: skip
    print(f"made by  nlpkit {result['provenance']['command']}{''.join(told)}")
    for name, value in sorted(result["config"].items()):
        print(f"  {name} = {short(value)}")
    for name, entry in result["tensors"].items():
        print(f"  {name:<56} {entry['dtype']:<5} {entry['shape']}")


def short(value: Any) -> Any:
    """A value of the config; of a long list (a vocabulary), how many it has."""
    return f"[{len(value):,} values]" if isinstance(value, list) and len(value) > 20 else value
