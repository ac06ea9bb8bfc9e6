"""nlpkit tokenizer compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output
from nlpkit.cli.terminal import tell, visible


def command(
    tokenizers: Annotated[
        list[Path], Argument(help="Artefacts or directories that hold a tokenizer.", metavar="TOKENIZER...")
    ],
    text: Annotated[Path, Option(help="Text to measure on, one a line; - is stdin.", metavar="FILE")],
    field: options.Field = "text",
    format: options.Format = None,
    json: options.Json = False,
) -> None:
    """Measure several tokenizers on one text: size, tokens a word, bits per byte, coverage, round trip, speed.

    Bits per byte are those of a unigram model of the tokenizer's own pieces on this text. Hugging Face folders are
    read too. --json leaves the speed out, which is not the same every time.

    Examples:

    nlpkit tokenizer compare bpe.safetensors unigram.safetensors --text dev.txt

    nlpkit tokenizer compare tok.safetensors bert-base-cased/ --text dev.txt --json | jq .tokenizers
    """
    output.call("tokenizer compare", locals(), show=show_json if json else show)


def show_json(result: dict[str, Any]) -> None:
    """One object, the same every time."""
    rows = [{key: value for key, value in row.items() if key != "megabytes_per_second"} for row in result["tokenizers"]]
    output.print_json({**result, "tokenizers": rows})


def show(result: dict[str, Any]) -> None:
    """A table for people."""
    tell(f"{result['text']}: {output.human_bytes(result['bytes'])}, {result['words']:,} words")
    tell()
    width = max(len("tokenizer"), *(len(visible(row["tokenizer"])) for row in result["tokenizers"]))
    tell(f"{'tokenizer':<{width}}  kind       pieces  tokens/word  bytes/token  bits/byte*  coverage   exact   MB/s")
    for row in result["tokenizers"]:
        per_token = "-" if row["bytes_per_token"] is None else f"{row['bytes_per_token']:.2f}"
        tell(
            f"{visible(row['tokenizer']):<{width}}  {row['kind']:<9}{row['vocab_size']:>8,}{row['fertility']:>13.3f}"
            f"{per_token:>13}{row['bits_per_byte']:>12.3f}{row['coverage']:>10.2%}{row['exact']:>8.1%}"
            f"{row['megabytes_per_second']:>7.1f}"
        )
    tell()
    tell("* under a unigram model of the tokenizer's own pieces, fitted on this text: what a tokenizer drops or")
    tell("  does not know costs nothing, so read it beside coverage and exact (lines that decode to themselves).")
