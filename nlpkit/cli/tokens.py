"""nlpkit tokens"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call


def command(
    corpus: Annotated[list[Path], Argument(help="Text, JSONL, CSV, TSV, Parquet, .gz, .zst; - is stdin.")],
    output: options.Output,
    tokenizer: Annotated[Path, Option(help="Tokenizer: an artefact that holds one, or a Hugging Face directory.")],
    field: options.Field = "text",
    on_error: options.OnError = "error",
    format: options.Format = None,
    shard: Annotated[
        str | None,
        Option(help="Tokenise one shard of the documents: 3/16 is the third of 16 (default: all documents)."),
    ] = None,
    threads: options.Threads = None,
    log: options.Log = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Tokenise a corpus into a token file, on all cores and in bounded memory. Documents and sentences are kept.

    Examples:

    nlpkit tokens corpus.txt --tokenizer tok.safetensors -o tokens.safetensors

    nlpkit tokens books.jsonl.zst --field body --shard 3/16 --tokenizer tok.safetensors -o tokens-3.safetensors
    """
    call("tokens", locals(), json=json)
