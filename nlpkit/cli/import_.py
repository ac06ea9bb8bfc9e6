"""nlpkit import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call


def command(
    directory: Annotated[Path, Argument(help="A Hugging Face model directory.", metavar="DIR")],
    output: options.Output,
    tokenizer: Annotated[bool, Option("--tokenizer/--no-tokenizer", help="Take its tokenizer too.")] = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Read a Hugging Face directory into one file. MODEL arguments take such a directory as it is, too.

    Examples:

    nlpkit import bert-hf -o bert.safetensors

    nlpkit import distant-model -o model.safetensors --no-tokenizer
    """
    call("import", locals(), json=json)
