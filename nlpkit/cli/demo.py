"""nlpkit demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from nlpkit.cli import options
from nlpkit.cli.output import call, human_bytes


def command(
    dir: Annotated[Path, Option(help="Folder for all files.")] = Path("nlpkit-demo"),
    data_only: Annotated[
        bool, Option("--data-only/--no-data-only", help="Write the text and the recipe (a TOML file of options) only.")
    ] = False,
    verify: Annotated[
        bool, Option("--verify/--no-verify", help="Verify the student's whole history at the end.")
    ] = True,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """The whole chain on Shakespeare in a few minutes: tokenizer, word vectors, a small BERT, fine-tuned to tell
    comedy, history and tragedy from one speech, distilled, evaluated, and verified.

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
        console.print(f"\nNearest words by their vectors. {nearest}", highlight=False)
    console.print()
    console.print(files_table(result))
    if result.get("verified"):
        console.print(f"\n{VERIFIED}", style="bold green")
    if "scores" in result:
        console.print(f"\n{SHOWS}\n", highlight=False)
        console.print(f"{result['total_seconds']:.0f} seconds in all.", highlight=False)


VERIFIED = "Verified: every stage behind the student was run again and gave the same bytes."
SHOWS = (
    "What this shows: every stage, on real text, and that all of it can be had again to the byte. The test speeches "
    "are of scenes that were never learnt from, but of the same plays, so names of persons and places help. What it "
    "does not show: what pre-training gives at scale. A model of this size, trained for a minute, does not beat a "
    "bag of words."
)


def scores_table(result: dict[str, Any]) -> Any:
    """Teacher, student and baselines side by side."""
    table = _table("Comedy, history or tragedy? One speech; intervals of 95 %")
    for name in ("", "accuracy", "macro-F1", "file", "params", "per s"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    teacher, student = result["scores"]["teacher"], result["scores"]["student"]
    for name, baseline in teacher["baselines"].items():
        table.add_row(name.replace("_", " "), *_cells(baseline), "", "", "")
    for name, scores in (("teacher", teacher), ("student", student)):
        model = scores["model"]
        table.add_row(
            f"{name} ({model['n_layers']} x {model['d_model']})",
            *_cells(scores["metrics"]),
            human_bytes(model["bytes"]),
            f"{model['parameters'] / 1e6:.2f} M",
            f"{scores['speed']['model']['examples_per_second']:,.0f}",
        )
    return table


def _cells(metrics: dict[str, Any]) -> list[str]:
    return [
        f"{metrics[name]['value']:.2f} [{metrics[name]['low']:.2f}, {metrics[name]['high']:.2f}]"
        for name in ("accuracy", "macro_f1")
    ]


def files_table(result: dict[str, Any]) -> Any:
    """What was written."""
    table = _table(f"Files in {result['dir']}")
    table.add_column("file")
    table.add_column("size", justify="right")
    table.add_column("sha256")
    for item in result["files"]:
        table.add_row(item["name"], human_bytes(item["bytes"]), item["sha256"][:16])
    return table


def _table(title: str) -> Any:
    """A table that fits in 80 columns, without lines that a log would not like."""
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
