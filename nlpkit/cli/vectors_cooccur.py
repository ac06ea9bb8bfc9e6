"""nlpkit vectors cooccur"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call


def command(
    corpus: Annotated[
        list[Path], Argument(help="Text, JSONL, CSV, TSV, Parquet, .gz, .zst; or token files; - is stdin.")
    ],
    output: options.Output,
    window: Annotated[int, Option(help="Context words on each side; a pair at distance d counts 1/d.")] = 10,
    min_count: Annotated[int, Option(help="Minimum frequency of a word.")] = 5,
    vocab_size: Annotated[int | None, Option(help="Maximum size of the vocabulary (default: all words).")] = None,
    phrases: Annotated[
        int | None, Option(help="Number of passes that join frequent pairs of words, as new_york (default: 0).")
    ] = None,
    phrase_threshold: Annotated[float | None, Option(help="Minimum score of a phrase (default: 100).")] = None,
    lowercase: Annotated[
        bool | None, Option("--lowercase/--no-lowercase", help="Lower-case the words (default: yes).")
    ] = None,
    strip_accents: Annotated[bool | None, options.StripAccents] = None,
    tokenizer: Annotated[Path | None, Option(help="Count the pieces of this tokenizer (default: words).")] = None,
    field: options.Field = "text",
    on_error: options.OnError = "error",
    format: options.Format = None,
    memory_mb: Annotated[
        int,
        Option("--memory-mb", help="Memory in MB for text and counts, without the vocabulary; changes no byte."),
    ] = 1024,
    threads: options.Threads = None,
    log: options.Log = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Count co-occurrences of words within a window, for `nlpkit vectors glove`. Words are runs of letters and digits.

    Examples:

    nlpkit vectors cooccur corpus.txt -o cooc.safetensors

    nlpkit vectors cooccur books/*.txt.gz -o cooc.safetensors --window 15 --vocab-size 50000 --memory-mb 4000
    """
    call("vectors cooccur", locals(), json=json)
