"""nlpkit demo: the whole chain on Shakespeare, verified at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.artifact import atomic, file
from nlpkit.base import events
from nlpkit.base.errors import CheckFailed, UserError
from nlpkit.stages import demo_data as data
from nlpkit.stages.demo_stages import RECIPE, STAGES, Stage, options, recipe

QUERIES = ("king", "love", "sword")


def demo(
    dir: Path = Path("nlpkit-demo"), *, data_only: bool = False, verify: bool = True, threads: int | None = None
) -> dict[str, Any]:
    """Run every stage of the demonstration in a folder, compare teacher, student and baselines, verify the chain.

    A stage whose result exists already, from the same inputs and options, is not run again, so a stopped
    demonstration goes on. ``data_only`` writes the text and the recipe and stops. Errors: CheckFailed when the
    chain does not give the same bytes again.
    """
    folder = Path(dir)
    if folder.exists() and not folder.is_dir():
        raise UserError("is not a folder", where=folder)
    began = time.monotonic()
    rows = data.write(folder)
    _write_recipe(folder)
    events.note(
        f"{folder}: {rows['scenes']:,} scenes to read; {rows['train']:,} speeches to learn from, "
        f"{rows['dev']:,} to choose by, {rows['test']:,} to be tested on"
    )
    if data_only:
        return {"dir": str(folder), "rows": rows, "files": _files(folder)}
    seconds = {stage.output: _run(stage, folder, threads) for stage in STAGES}
    scores = _evaluate(folder, threads)
    result: dict[str, Any] = {
        "dir": str(folder),
        "rows": rows,
        "seconds": seconds,
        "scores": scores,
        "nearest": _nearest(folder),
    }
    if verify:
        result["verified"] = _verify(folder, threads)
    result["files"] = _files(folder)
    result["total_seconds"] = round(time.monotonic() - began, 1)
    return result


def _write_recipe(folder: Path) -> None:
    """Write the recipe beside the results; an existing one, which may have been edited, is used as it is."""
    path = folder / RECIPE
    if not path.exists():
        with atomic.writing(path) as target:
            target.write(recipe())


def _announce(line: str) -> None:
    """A command line, below an empty line: a note is one line, in which a line end is shown as an escape."""
    events.note("")
    events.note(f"$ {line}")


def _run(stage: Stage, folder: Path, threads: int | None) -> float:
    """One stage, announced by the command line that does the same."""
    _announce(f"{stage.line()}    # {stage.why}")
    began = time.monotonic()
    summary = stage.run(folder, threads)
    if summary.get("already_made"):
        events.note(f"{stage.output} is there already")
        return 0.0
    seconds = time.monotonic() - began
    events.note(f"{stage.output}: {summary['bytes'] / 1e6:.2f} MB, sha256 {summary['sha256'][:16]}, {seconds:.0f} s")
    return round(seconds, 1)


def _evaluate(folder: Path, threads: int | None) -> dict[str, Any]:
    """Teacher and student on the test speeches, with the baselines that a trained model must beat."""
    scores: dict[str, Any] = {}
    for name in ("teacher", "student"):
        extra = {"train": folder / "train.jsonl"} if name == "teacher" else {}
        baselines = " --train train.jsonl" if extra else ""
        _announce(f"nlpkit evaluate {name}.safetensors test.jsonl{baselines} --config {RECIPE}")
        scores[name] = nlpkit.evaluate(
            folder / f"{name}.safetensors",
            folder / "test.jsonl",
            threads=threads,
            **extra,
            **options(folder, "evaluate"),
        )
    return scores


def _nearest(folder: Path) -> dict[str, list[str]]:
    """The nearest words of three words."""
    neighbours: dict[str, list[str]] = {}
    for word in QUERIES:
        result = nlpkit.vectors_nearest(folder / "vectors.safetensors", [word], k=6)
        neighbours[word] = [item["word"] for item in result["nearest"][0]["words"]]
    return neighbours


def _verify(folder: Path, threads: int | None) -> bool:
    """Run the student's whole chain again in a temporary folder and compare the bytes."""
    _announce("nlpkit verify student.safetensors --chain    # run all of it again, compare every byte")
    result = nlpkit.verify(folder / "student.safetensors", chain=True, inputs=folder, threads=threads)
    if not result["proven"]:
        raise CheckFailed("the chain gave other bytes", where=folder / "student.safetensors")
    return True


def _files(folder: Path) -> list[dict[str, Any]]:
    """The files of the folder."""
    return [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": file.file_sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
