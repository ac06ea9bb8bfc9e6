"""nlpkit demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from nlpkit.cli import options
from nlpkit.cli.output import call


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
    """The whole chain on Shakespeare in a few minutes: tokenizer, word vectors, a small BERT that reads the plays,
    fine-tuned with a thousand labels to tell comedy, history and tragedy from one speech, distilled, evaluated beside a
    bag of words, and verified.

    Examples:

    nlpkit demo

    nlpkit demo --dir shakespeare --data-only
    """
    call("demo", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """The table at the end, and what it says."""
    from rich.console import Console

    if "scores" not in result:
        return
    console = Console()
    console.print()
    console.print(scores_table(result))
    for line in conclusions(result):
        console.print(line, highlight=False)
    console.print(f"\n{times(result)}\n", highlight=False)
    if result.get("verified"):
        console.print(VERIFIED, style="bold green")
    console.print(f"Curves, options and lineage: {result['report']}", highlight=False, soft_wrap=True)


VERIFIED = "Verified: every stage behind the student was run again and gave the same bytes."
LIMITS = (
    "It does not show plays that were never seen: the test speeches are of other scenes of the same plays, so names of "
    "persons and places help both. Nor what pre-training gives at scale: the model is tiny and the text small."
)


def scores_table(result: dict[str, Any]) -> Any:
    """Baselines, teacher and student side by side."""
    from rich.table import Table

    rows, seconds = result["rows"], result["seconds"]
    title = f"Comedy, history or tragedy? {rows['train']:,} labelled speeches, {rows['test']:,} to test with"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("", "accuracy", "minus bag of words", "params", "time"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    teacher = result["scores"]["teacher"]
    for name, baseline in teacher["baselines"].items():
        table.add_row(name.replace("_", " "), _interval(baseline["accuracy"]), "", "", "")
    spent = 0.0
    for name, stages in TRAINING.items():
        scores = result["scores"][name]
        spent += sum(seconds[stage] for stage in stages)
        model = scores["model"]
        table.add_row(
            f"{name} ({model['n_layers']} x {model['d_model']})",
            _interval(scores["metrics"]["accuracy"]),
            _interval(scores["over_baselines"]["bag_of_words"]["accuracy"], sign="+"),
            f"{model['parameters'] / 1e6:.2f} M",
            f"{spent:.0f} s",
        )
    return table


# The stages whose seconds a model took.
TRAINING = {"teacher": ("tokenizer train", "tokens", "pretrain", "finetune"), "student": ("distill",)}


def conclusions(result: dict[str, Any]) -> list[str]:
    """What the table shows, by its intervals of 95 %, and what it does not."""
    gain = result["scores"]["teacher"]["over_baselines"]["bag_of_words"]["accuracy"]
    loss = result["scores"]["student"]["difference"]["accuracy"]
    read = f"reading {result['rows']['scenes']:,} scenes without labels"
    if gain["low"] > 0:
        first = f"It shows that {read} pays: the teacher beats a bag of words by more than the interval (95 %)."
    else:
        first = (
            f"It does not show that {read} pays: the teacher is not better than a bag of words by the interval (95 %)."
        )
    beside = f"The student minus its teacher, on the same speeches: {_interval(loss, sign='+')}."
    return [f"\n{first} {beside}", LIMITS]


def times(result: dict[str, Any]) -> str:
    """Where the seconds went, all of them."""
    parts = {name: value for name, value in result["seconds"].items() if name != "total"}
    said = ", ".join(f"{name} {value:.0f}" for name, value in parts.items() if value >= 0.5)
    small = sum(value for value in parts.values() if value < 0.5)
    rest = f", the rest {small:.0f}" if small >= 0.5 else ""
    return f"{result['seconds']['total']:.0f} seconds: {said}{rest}."


def _interval(estimate: dict[str, float], sign: str = "") -> str:
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"
