"""nlpkit vectors evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options, output
from nlpkit.cli.output import number
from nlpkit.cli.terminal import tell, visible


def command(
    vectors: Annotated[Path, Argument(help="A vectors file.", metavar="VECTORS")],
    sets: Annotated[list[Path], Argument(help="Test sets: 'word word score', or analogies.", metavar="SET...")],
    restrict_vocab: Annotated[
        int | None, Option(help="Search answers among the N most frequent words (default: all).")
    ] = None,
    analogy_score: options.AnalogyScore = None,
    resamples: Annotated[int, Option(help="Bootstrap resamples for the confidence intervals.")] = 1000,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Measure vectors on published test sets: similarity (Spearman's correlation with people's scores) and analogies
    (accuracy), in all and relation by relation, with 95 % intervals and coverage.

    Pairs have relations when the set's first line names a column "relation" or "POS"; then their mean cosine is
    printed, and the median rank of the second word among the first's neighbours.

    Examples:

    nlpkit vectors evaluate vec.safetensors wordsim353.tsv simlex999.txt

    nlpkit vectors evaluate vec.safetensors questions-words.txt --restrict-vocab 30000 --analogy-score mul --json
    """
    output.call("vectors evaluate", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A line for each metric; then, for each set, what it lost to unknown words, and a line for each relation."""
    for name, metric in result["metrics"].items():
        value, low, high = (number(metric[part], 3) for part in ("value", "low", "high"))
        tell(f"{visible(name):<36} {value}  [{low}, {high}]")
    for test_set in result["sets"]:
        tell(
            f"{test_set['set']}: {test_set['used']:,} of {test_set['items']:,} items used ({test_set['coverage']:.0%})"
        )
        for relation in test_set.get("relations", ()):
            named = visible(relation["relation"])
            tell(f"  {named:<34}{_measured(relation)}  ({relation['used']:,} of {relation['items']:,})")


def _measured(relation: dict[str, Any]) -> str:
    parts = []
    for name, digits in (("accuracy", 3), ("cosine", 3), ("rank", 0), ("spearman", 3)):
        if (value := relation.get(name)) is not None:
            label = "" if name == "accuracy" else f"{name} "
            middle, low, high = (number(value[part], digits) for part in ("value", "low", "high"))
            parts.append(f" {label}{middle}  [{low}, {high}]")
    return "".join(parts) or " nothing known"
