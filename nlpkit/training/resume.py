"""The unfinished run of a model: weights, optimizer state, the best weights so far, the step and the position in the
data are in one file, so weights and optimizer can never be of different steps (`nlpkit.artifact.resume`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import file, resume
from nlpkit.artifact.beside import unfinished
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.world import world
from nlpkit.data.order import START, Position

Arrays = resume.Arrays


@dataclass
class Progress:
    """Where a run is. ``best_score`` is of the evaluation at ``best_step``; ``stale`` counts evaluations since.
    ``scale`` and ``steady`` are float16's (`nlpkit.training.precision`)."""

    step: int = 0
    position: Position = field(default_factory=lambda: dict(START))
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    stopped: bool = False
    scale: float = 1.0
    steady: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def result(self) -> dict[str, Any]:
        """What a finished run records of itself in the model's config."""
        finite = self.best_score is not None and math.isfinite(self.best_score)
        return {"steps": self.step, "best_step": self.best_step, "score": self.best_score if finite else None}


def save(run: Run, progress: Progress, *, model: Arrays, optimizer: Arrays, best: Arrays) -> None:
    """Write the state of a run (`nlpkit.artifact.resume`)."""
    arrays = {
        **{f"model.{name}": value for name, value in model.items()},
        **{f"optimizer.{name}": value for name, value in optimizer.items()},
        **{f"best.{name}": value for name, value in best.items()},
    }
    resume.save(run, arrays, progress.to_json())


@dataclass(frozen=True)
class Saved:
    """What `save` wrote."""

    progress: Progress
    model: Arrays
    optimizer: Arrays
    best: Arrays


def load(run: Run) -> Saved | None:
    """The unfinished run of this target, None when there is none. Errors: those of `nlpkit.artifact.resume.load`."""
    saved_run = resume.load(run)
    if saved_run is None:
        return None
    arrays, config = saved_run

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    saved = Saved(Progress(**config), part("model."), part("optimizer."), part("best."))
    events.note(f"resuming {run.output.name} at step {saved.progress.step:,}")
    return saved


def parts_of(parts: int | None, output: Path, *, fresh: bool) -> int:
    """In how many parts each batch of a run is computed: ``parts``; if None, the number of its unfinished run, whose
    bytes another number would change; else one for each process. Errors: fewer than processes, in a new run."""
    size, output = world().size, Path(output)
    resumes = not fresh and output.name not in ("", "..") and unfinished(output).exists()
    if parts is None and resumes:
        parts = file.read(unfinished(output), kind="resume").provenance.get("options", {}).get("parts")
    parts = size if parts is None else int(parts)
    if 1 <= parts < size:
        too_few = f"{size} processes divide {parts} {'part' if parts == 1 else 'parts'} of each batch"
        if not resumes:
            raise UserError(
                f"{too_few}, so some would be idle", where="--parts", hint=f"at least --parts {size}, or leave it out"
            )
        events.note(f"{too_few}, as when the run began; some of them are idle")
    return parts
