"""nlpkit vectors map"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


def command(
    vectors: Annotated[Path, Argument(help="A vectors file.", metavar="VECTORS")],
    output: Annotated[Path, Option("-o", "--output", help="Picture (.png, .svg) or table (.csv) to write.")],
    words: Annotated[
        list[str] | None,
        Argument(help="Words to show (default: those of --near, --top and --words-from).", metavar="[WORD...]"),
    ] = None,
    words_from: Annotated[
        Path | None, Option(help="Show the words of this file too, one a line; - is stdin (default: none).")
    ] = None,
    near: Annotated[
        list[str] | None, Option(help="Show this word and its neighbours in one colour; repeatable (default: none).")
    ] = None,
    k: Annotated[int | None, Option("-k", "--k", help="Number of neighbours (--near; default: 30).")] = None,
    top: Annotated[int | None, Option(help="Show the N most frequent words too (default: none).")] = None,
    method: Annotated[
        str, Option(help="Projection: pca (principal components) or tsne.", autocompletion=completion.projections)
    ] = "pca",
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Put words on a plane and draw it. Pictures need matplotlib: pip install 'nlpkit[plots]'.

    Examples:

    nlpkit vectors map vec.safetensors -o map.png king queen man woman father mother

    nlpkit vectors map vec.safetensors -o map.svg --near love --near sea -k 25 --method tsne
    """
    call("vectors map", locals(), json=json)
