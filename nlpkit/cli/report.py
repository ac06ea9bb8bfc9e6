"""nlpkit report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call, human_bytes
from nlpkit.cli.terminal import say


def command(
    runs: Annotated[
        list[Path],
        Argument(help="Artefacts, logs (--log) and results of evaluate (-o).", metavar="RUN..."),
    ],
    output: Annotated[
        Path | None, Option("-o", "--output", help="HTML page to write (default: none; then --tensorboard is needed).")
    ] = None,
    title: Annotated[str | None, Option(help="Title of the page (default: nlpkit report).")] = None,
    attention: Annotated[
        str | None, Option(help="Draw the attention weights of every head for this text (default: none are drawn).")
    ] = None,
    tensorboard: Annotated[
        Path | None, Option(help="Write TensorBoard event files into this folder (default: none).", metavar="DIR")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Draw and compare runs on one page: curves, options, evaluations, attention, lineage. The page is one file, needs
    no network and prints well.

    Examples:

    nlpkit report bert.safetensors bert.jsonl score.json -o report.html

    nlpkit report small.jsonl large.jsonl --tensorboard events
    """
    call("report", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """What was written, for people."""
    if "output" in result:
        count = len(result["runs"])
        runs = f"{count:,} run{'' if count == 1 else 's'}"
        say(f"{result['output']}: report of {runs}, {human_bytes(result['bytes'])}, sha256 {result['sha256'][:16]}")
    for path in result.get("tensorboard", ()):
        say(f"{path}: written")
