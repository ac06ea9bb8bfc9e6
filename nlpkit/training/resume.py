"""The unfinished run of a model: weights, optimizer moments, the best weights so far, the step and the position in the
data are one file, so weights and optimizer can never be of different steps (`nlpkit.artifact.resume`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import file, resume
from nlpkit.artifact.provenance import Run, unfinished
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
    found = resume.load(run)
    if found is None:
        return None
    arrays, config = found

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    saved = Saved(Progress(**config), part("model."), part("optimizer."), part("best."))
    events.note(f"resuming {run.output.name} at step {saved.progress.step:,}")
    return saved


def parts_of(asked: int | None, output: Path, *, fresh: bool) -> int:
    """In how many parts each batch of a run is computed: as asked; else as its unfinished run was begun, whose bytes
    another number would change; else one a process. Errors: fewer than there are processes, in a new run."""
    size, output = world().size, Path(output)
    resumes = not fresh and output.name not in ("", "..") and unfinished(output).exists()
    if asked is None and resumes:
        asked = file.read(unfinished(output), kind="resume").provenance.get("options", {}).get("parts")
    parts = size if asked is None else int(asked)
    if 1 <= parts < size:
        idle = f"{size} processes share {parts} {'part' if parts == 1 else 'parts'} of each batch"
        if not resumes:
            raise UserError(f"{idle}, and the rest would have nothing to do", where="--parts",
                            hint=f"at least --parts {size}, or leave it out")  # fmt: skip
        events.note(f"{idle}, as the run was begun; the rest of them have nothing to do")
    return parts
