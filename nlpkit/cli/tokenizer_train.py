"""nlpkit tokenizer train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


def command(
    corpus: Annotated[list[Path], Argument(help="Text, JSONL, CSV, TSV, Parquet, .gz, .zst; - is stdin.")],
    output: options.Output,
    kind: Annotated[
        str, Option(help="Algorithm: bpe, wordpiece, unigram, word or char.", autocompletion=completion.tokenizers)
    ] = "bpe",
    vocab_size: Annotated[int, Option(help="Size of the vocabulary, special tokens included.")] = 8000,
    min_count: Annotated[
        int | None,
        Option(help="Minimum frequency of a merge, word or character (default: 2; not unigram)."),
    ] = None,
    lowercase: Annotated[
        bool | None,
        Option(
            "--lowercase/--no-lowercase",
            help="Lower-case the text (default: yes for wordpiece and word, else no).",
        ),
    ] = None,
    strip_accents: Annotated[bool, options.StripAccents] = False,
    byte_level: Annotated[
        bool | None,
        Option("--byte-level/--no-byte-level", help="bpe: merge bytes, as GPT-2 does (default), or characters."),
    ] = None,
    score: Annotated[
        str | None, Option(help="Score of a merge (wordpiece): likelihood (default), ratio or frequency.")
    ] = None,
    field: options.Field = "text",
    on_error: options.OnError = "error",
    format: options.Format = None,
    threads: options.Threads = None,
    log: options.Log = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Train a tokenizer. The same corpus and options give the same bytes, in any process, on any number of cores.

    Examples:

    nlpkit tokenizer train corpus.txt -o tok.safetensors --kind bpe --vocab-size 8000

    zcat books.gz | nlpkit tokenizer train - -o tok.safetensors --kind wordpiece --vocab-size 4000
    """
    call("tokenizer train", locals(), json=json)
