"""nlpkit export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


def command(
    model: Annotated[Path, Argument(help="A model, tokenizer or vectors file.", metavar="FILE")],
    output: Annotated[Path, Option("-o", "--output", help="Folder to write (vectors: file).")],
    to: Annotated[
        str,
        Option(
            help="Format: huggingface; for vectors it must be word2vec, word2vec-binary or glove.",
            autocompletion=completion.formats,
        ),
    ] = "huggingface",
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write a model, tokenizer or vectors for another tool.

    Examples:

    nlpkit export bert.safetensors -o bert-hf

    nlpkit export vectors.safetensors -o vectors.txt --to word2vec
    """
    call("export", locals(), json=json)
