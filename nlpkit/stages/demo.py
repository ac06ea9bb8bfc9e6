"""nlpkit demo: the whole chain on Shakespeare, verified at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.artifact import atomic, file
from nlpkit.base import events
from nlpkit.base.errors import CheckFailed, UserError
from nlpkit.stages import demo_data as data
from nlpkit.stages import demo_shown as shown
from nlpkit.stages.demo_stages import RECIPE, STAGES, Stage, configured, options, recipe

REPORT = "report.html"
MODELS = ("teacher", "student")


class Seconds(dict[str, float]):
    """Wall-clock seconds of each part of the demonstration, by its name; none of them is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the block's."""
        before = time.monotonic()
        yield
        self[name] = self.get(name, 0.0) + time.monotonic() - before

    def all(self) -> dict[str, float]:
        """Every part, ``other`` for what no block counted, and their ``total``."""
        total = time.monotonic() - self.began
        return {**self, "other": max(0.0, total - sum(self.values())), "total": total}


def demo(
    dir: Path = Path("nlpkit-demo"), *, data_only: bool = False, verify: bool = True, threads: int | None = None
) -> dict[str, Any]:
    """Run every stage of the demonstration in a folder, compare teacher, student and baselines, verify the chain.

    A stage whose result exists already, from the same inputs and options, is not run again, so a stopped
    demonstration goes on; ``made`` names the results of this call. ``seconds`` are those of this call, part by part.
    ``data_only`` writes the text and the recipe and stops. Errors: CheckFailed when the chain does not give the same
    bytes again.
    """
    folder = Path(dir)
    if folder.exists() and not folder.is_dir():
        raise UserError("is not a folder", where=folder)
    seconds = Seconds()
    with seconds.of("text"):
        rows = data.write(folder)
        _write_recipe(folder)
    events.note(
        f"{folder}: {rows['scenes']:,} scenes to read; {rows['train']:,} of their speeches have a label; "
        f"{rows['test']:,} speeches of other scenes to be tested on"
    )
    if data_only:
        return {"dir": str(folder), "rows": rows, "files": _files(folder)}
    learnt: dict[str, Any] = {}
    written = []
    for stage in STAGES:
        with seconds.of(stage.command):
            written += _run(stage, folder, threads)
        with seconds.of("examples"):
            learnt |= _show(stage, folder, threads)
    with seconds.of("evaluate"):
        scores = {name: _evaluate(folder, name, threads) for name in MODELS}
    result = {"dir": str(folder), "rows": rows, "made": written, "scores": scores, **learnt}
    if verify:
        with seconds.of("verify"):
            result["verified"] = _verify(folder, threads)
    with seconds.of("report"):
        result["report"] = _report(folder)
    result["files"] = _files(folder)
    return {**result, "seconds": {name: round(value, 1) for name, value in seconds.all().items()}}


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


def _run(stage: Stage, folder: Path, threads: int | None) -> list[str]:
    """One stage, announced by the command line that does the same; the name of its result, if it was made now."""
    _announce(f"{stage.line(folder)}    # {stage.why}")
    began = time.monotonic()
    summary = stage.run(folder, threads)
    if summary.get("already_made"):
        events.note(f"{stage.output} is there already")
        return []
    seconds = time.monotonic() - began
    events.note(f"{stage.output}: {summary['bytes'] / 1e6:.2f} MB, sha256 {summary['sha256'][:16]}, {seconds:.1f} s")
    return [stage.output]


def _show(stage: Stage, folder: Path, threads: int | None) -> dict[str, Any]:
    """What a stage has learnt, by example: for the result, and said."""
    path = folder / stage.output
    if stage.command == "vectors train":
        nearest = shown.nearest(path)
        _lines("the nearest words:", nearest)
        return {"nearest": nearest}
    if stage.command == "pretrain":
        filled = shown.filled(path)
        _lines("words that the sentence makes likelier in place of the mask:", filled)
        return {"filled": filled}
    if stage.command == "finetune":
        predictions = shown.predicted(path, folder / "test.jsonl", threads=threads)
        events.note("speeches that it never read, and its predictions:")
        for row in predictions:
            wrong = "" if row["prediction"] == row["label"] else " (wrong)"
            events.note(f"  {row['text']}  ->  {row['prediction']}{wrong}")
        return {"predictions": predictions}
    return {}


def _lines(title: str, examples: dict[str, list[str]]) -> None:
    events.note(title)
    for name, words in examples.items():
        events.note(f"  {name}  ->  {', '.join(words)}")


def _evaluate(folder: Path, name: str, threads: int | None) -> dict[str, Any]:
    """A model on the test speeches, with the baselines that a trained model must beat; the student beside its teacher
    too."""
    named = {"train": "train.jsonl"} | ({"against": "teacher.safetensors"} if name == "student" else {})
    result = folder / f"{name}.json"
    words = [word for option, value in named.items() for word in (f"--{option}", value)]
    line = ["nlpkit evaluate", f"{name}.safetensors", "test.jsonl", *words, "-o", result.name]
    _announce(" ".join([*line, *configured(folder, "evaluate")]))
    scores: dict[str, Any] = nlpkit.evaluate(
        folder / f"{name}.safetensors",
        folder / "test.jsonl",
        threads=threads,
        output=result,
        force=True,
        **{option: folder / value for option, value in named.items()},
        **options(folder, "evaluate"),
    )
    accuracy = scores["metrics"]["accuracy"]
    events.note(f"accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]")
    return scores


def _verify(folder: Path, threads: int | None) -> bool:
    """Run the student's whole chain again in a temporary folder and compare the bytes."""
    _announce("nlpkit verify student.safetensors --chain    # run all of it again, compare every byte")
    result = nlpkit.verify(folder / "student.safetensors", chain=True, inputs=folder, threads=threads)
    if not result["proven"]:
        raise CheckFailed("the chain gave other bytes", where=folder / "student.safetensors")
    return True


def _report(folder: Path) -> str:
    """The page of the runs; its path."""
    stages = [stage for stage in STAGES if "log" in stage.named]
    runs = [name for stage in stages for name in (stage.output, stage.named["log"])]
    runs += [f"{name}.json" for name in MODELS]
    _announce(" ".join(["nlpkit report", *runs, "-o", REPORT]))
    path = folder / REPORT
    nlpkit.report([folder / name for name in runs], path, title="The whole chain on Shakespeare", force=True)
    return str(path)


def _files(folder: Path) -> list[dict[str, Any]]:
    """The files of the folder."""
    return [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": file.file_sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
