"""nlpkit vectors nearest"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output, terminal


def command(
    vectors: Annotated[Path, Argument(help="A vectors file.", metavar="VECTORS")],
    words: Annotated[list[str], Argument(help="Words of its vocabulary.", metavar="WORD...")],
    plus: Annotated[
        list[str] | None, Option(help="Add this word's vector to the query; repeatable (default: none).")
    ] = None,
    minus: Annotated[
        list[str] | None, Option(help="Subtract this word's vector from the query; repeatable (default: none).")
    ] = None,
    k: Annotated[int, Option("-k", "--k", help="Number of neighbours.")] = 10,
    json: options.Json = False,
) -> None:
    """The words nearest to a word, by cosine.

    Examples:

    nlpkit vectors nearest vec.safetensors king sword -k 5 --json

    nlpkit vectors nearest vec.safetensors king --minus man --plus woman
    """
    output.call("vectors nearest", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A line for each word: query, cosine, word, with tabs between."""
    more = "".join([f" + {word}" for word in result["plus"]] + [f" - {word}" for word in result["minus"]])
    for entry in result["nearest"]:
        for near in entry["words"]:
            terminal.data(f"{entry['word']}{more}\t{near['cosine']:.4f}\t{near['word']}")
