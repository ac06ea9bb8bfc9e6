"""nlpkit vectors evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output


def command(
    vectors: Annotated[Path, Argument(help="A vectors file.", metavar="VECTORS")],
    sets: Annotated[list[Path], Argument(help="Test sets: 'word word score', or analogies.", metavar="SET...")],
    restrict_vocab: Annotated[
        int | None, Option(help="Answer analogies within the N most frequent words (default: all).", min=4)
    ] = None,
    resamples: Annotated[int, Option(help="Draws of the bootstrap behind the intervals.", min=1)] = 1000,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Measure vectors on published test sets: similarity (Spearman's correlation with people's scores) and analogies
    (accuracy), with 95 % intervals and coverage.

    Examples:

    nlpkit vectors evaluate vec.safetensors wordsim353.tsv simlex999.txt

    nlpkit vectors evaluate vec.safetensors questions-words.txt --restrict-vocab 30000 --json
    """
    output.call("vectors evaluate", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A line for each metric, and one for what each set lost to unknown words."""
    for name, metric in result["metrics"].items():
        print(f"{name:<36} {metric['value']:.3f}  [{metric['low']:.3f}, {metric['high']:.3f}]")
    for found in result["sets"]:
        print(f"{found['set']}: {found['used']:,} of {found['items']:,} items used ({found['coverage']:.0%})")
