"""nlpkit vectors analogy"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output, terminal


def command(
    vectors: Annotated[Path, Argument(help="A vectors file.", metavar="VECTORS")],
    a: Annotated[str, Argument(help="First word of the known pair, such as man.", metavar="A")],
    b: Annotated[str, Argument(help="Second word of the known pair, such as king.", metavar="B")],
    c: Annotated[str, Argument(help="First word of the pair to complete, such as woman.", metavar="C")],
    analogy_score: options.AnalogyScore = None,
    k: Annotated[int, Option("-k", "--k", help="Number of answers.")] = 10,
    json: options.Json = False,
) -> None:
    """A is to B as C is to ...? The words that are near to B and C and far from A, without the three.

    Examples:

    nlpkit vectors analogy vec.safetensors man king woman

    nlpkit vectors analogy vec.safetensors paris france rome --analogy-score mul -k 3 --json
    """
    output.call("vectors analogy", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A line for each answer: score and word."""
    for answer in result["answers"]:
        terminal.data(f"{answer['score']:.4f}\t{answer['word']}")
