"""nlpkit import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


def command(
    source: Annotated[
        Path,
        Argument(help="A Hugging Face model directory, or a file of word vectors (.gz, .zst too).", metavar="SOURCE"),
    ],
    output: options.Output,
    format: Annotated[
        str | None,
        Option(
            help="Vectors: word2vec, word2vec-binary, glove, fasttext (default: by content).",
            autocompletion=completion.vector_formats,
        ),
    ] = None,
    on_error: options.OnError = "error",
    tokenizer: Annotated[
        bool, Option("--tokenizer/--no-tokenizer", help="Import the directory's tokenizer too.")
    ] = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Read a Hugging Face directory, or word vectors of another tool, into one file. MODEL arguments take such a
    directory as it is, too.

    Examples:

    nlpkit import bert-hf -o bert.safetensors

    nlpkit import glove.6B.300d.txt -o vectors.safetensors
    """
    call("import", locals(), json=json)
