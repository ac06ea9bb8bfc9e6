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
    window: Annotated[int, Option(help="Words to each side; one at distance d counts 1/d.", min=1)] = 10,
    min_count: Annotated[int, Option(help="Rarer words are left out.", min=1)] = 5,
    vocab_size: Annotated[int | None, Option(help="Keep the most frequent words only (default: all).", min=2)] = None,
    phrases: Annotated[
        int | None, Option(help="Join pairs of words that belong together, new_york, so many times.", min=1)
    ] = None,
    phrase_threshold: Annotated[
        float | None, Option(help="Score above which a pair is a phrase (default: 100).", min=0)
    ] = None,
    lowercase: Annotated[
        bool | None, Option("--lowercase/--no-lowercase", help="Make words lower-case (default: yes).")
    ] = None,
    strip_accents: Annotated[bool | None, options.StripAccents] = None,
    tokenizer: Annotated[Path | None, Option(help="Count this tokenizer's pieces (default: words).")] = None,
    field: options.Field = "text",
    on_error: options.OnError = "error",
    format: options.Format = None,
    memory_mb: Annotated[
        int, Option("--memory-mb", help="Memory for text and counts, the vocabulary apart; changes no byte.", min=1)
    ] = 1024,
    threads: options.Threads = None,
    log: options.Log = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Count which words stand near which, for `nlpkit vectors glove`. Words are runs of letters and digits.

    Examples:

    nlpkit vectors cooccur corpus.txt -o cooc.safetensors

    nlpkit vectors cooccur books/*.txt.gz -o cooc.safetensors --window 15 --vocab-size 50000 --memory-mb 4000
    """
    call("vectors cooccur", locals(), json=json)
