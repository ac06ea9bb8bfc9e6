"""nlpkit verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.base.errors import CheckFailed
from nlpkit.cli import options, terminal
from nlpkit.cli.output import call


def command(
    path: Annotated[Path, Argument(help="An artefact: a file that nlpkit wrote.", metavar="FILE")],
    chain: Annotated[
        bool, Option("--chain/--no-chain", help="Run every stage of its history again, not only the last.")
    ] = False,
    inputs: Annotated[
        Path | None,
        Option(
            help="Folder to search for the inputs too, recursively (default: the file's folder, the current one, and "
            "3 levels below that)."
        ),
    ] = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Run a file's stage again, or all stages behind it, in a temporary folder, and compare the bytes. Exit 0 when they
    are the same; 3 when not, with the first input, option, version or tensor that differs.

    Examples:

    nlpkit verify bert.safetensors

    nlpkit verify student.safetensors --chain --inputs data/
    """
    result = call("verify", locals(), json=json, show=show)
    if not result["proven"]:
        raise CheckFailed(f"not proven: {result['difference']}", where=path)


def show(result: dict[str, Any]) -> None:
    """Each stage with its verdict."""
    for stage in result["stages"]:
        verdict = "same bytes" if stage["equal"] else f"OTHER BYTES ({stage['found'][:16]})"
        terminal.tell(f"{stage['name']}  {stage['sha256'][:16]}  nlpkit {stage['command']}: {verdict}")
    if result["proven"]:
        count = len(result["stages"])
        where = ", in portable mode" if any(stage["portable"] for stage in result["stages"]) else ""
        terminal.tell(f"{result['path']}: proven, {count} {'stage' if count == 1 else 'stages'} run again{where}")
