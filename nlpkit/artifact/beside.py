"""The files that a run keeps beside its output while it works, one function each."""

from __future__ import annotations

from pathlib import Path

from nlpkit.artifact.atomic import target_of


def unfinished(output: Path) -> Path:
    """The file that holds the state of an unfinished run (`nlpkit.training.resume`)."""
    return output.with_name(output.name + ".resume")


def predictions(output: Path) -> Path:
    """The file that holds a teacher's predictions while a student trains on them (`nlpkit.compression.replay`)."""
    return output.with_name(output.name + ".predictions")


def runs(output: Path) -> Path:
    """The folder that holds the runs of a search (`nlpkit.stages.tune`); they stay when it has ended."""
    return output.with_name(output.name + ".runs")


def lock_of(output: Path) -> Path:
    """The file that is locked while ``output`` is made (`nlpkit.artifact.lock`)."""
    real = target_of(output)
    return real.with_name(f".{real.name}.lock")


BESIDE = {
    ".resume": unfinished,
    ".predictions": predictions,
    ".lock": lock_of,
}  # how an error names it -> where it lies
