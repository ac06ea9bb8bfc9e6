"""nlpkit demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from nlpkit.cli import options
from nlpkit.cli.output import call, human_bytes


def command(
    dir: Annotated[Path, Option(help="Where everything is written.")] = Path("nlpkit-demo"),
    data_only: Annotated[
        bool, Option("--data-only/--no-data-only", help="Write the text and the recipe, and stop.")
    ] = False,
    verify: Annotated[bool, Option("--verify/--no-verify", help="Prove the student's chain at the end.")] = True,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """The whole chain on Shakespeare in a few minutes: tokenizer, word vectors, a small BERT, fine-tuned to tell
    comedy, history and tragedy from one speech, distilled, measured, and proved.

    Examples:

    nlpkit demo

    nlpkit demo --dir shakespeare --data-only
    """
    call("demo", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """The tables at the end."""
    from rich.console import Console

    console = Console()
    if "scores" in result:
        console.print()
        console.print(scores_table(result))
        nearest = "; ".join(f"{word}: {', '.join(words)}" for word, words in result["nearest"].items())
        console.print(f"Nearest words by their vectors. {nearest}", highlight=False)
    console.print()
    console.print(files_table(result))
    if result.get("verified"):
        console.print(
            "Verified: every stage behind the student was run again and gave the same bytes.", style="bold green"
        )
    if "scores" in result:
        console.print(SHOWS, highlight=False)
        console.print(f"{result['total_seconds']:.0f} seconds in all.", highlight=False)


SHOWS = """
What this shows: each stage, on real text, and that its bytes can be had again. The test speeches are of scenes that
were never learnt from, but of the same plays, so names of persons and places help; a model of this size, trained for
a minute, is not better than a bag of words at it. What it does not show: what pre-training gives at scale, or plays
never seen.
"""


def scores_table(result: dict[str, Any]) -> Any:
    """Teacher, student and baselines side by side."""
    from rich.table import Table

    table = Table(title="Comedy, history or tragedy? One speech, 95 % intervals", title_justify="left")
    for name in ("", "accuracy", "macro-F1", "file", "parameters", "speeches/s"):
        table.add_column(name, justify="left" if not name else "right")
    teacher, student = result["scores"]["teacher"], result["scores"]["student"]
    for name, baseline in teacher["baselines"].items():
        table.add_row(name.replace("_", " "), *_cells(baseline), "", "", "")
    for name, scores in (("teacher", teacher), ("student", student)):
        model = scores["model"]
        table.add_row(
            f"{name} ({model['n_layers']} x {model['d_model']})", *_cells(scores["metrics"]),
            human_bytes(model["bytes"]), f"{model['parameters']:,}", f"{scores['examples_per_second']:,.0f}",
        )  # fmt: skip
    return table


def _cells(metrics: dict[str, Any]) -> list[str]:
    return [
        f"{metrics[name]['value']:.3f} [{metrics[name]['low']:.3f}, {metrics[name]['high']:.3f}]"
        for name in ("accuracy", "macro_f1")
    ]


def files_table(result: dict[str, Any]) -> Any:
    """What was written."""
    from rich.table import Table

    table = Table(title=f"Files in {result['dir']}", title_justify="left")
    table.add_column("file")
    table.add_column("size", justify="right")
    table.add_column("sha256")
    for item in result["files"]:
        table.add_row(item["name"], human_bytes(item["bytes"]), item["sha256"][:16])
    return table
