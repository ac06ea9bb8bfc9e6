"""An unfinished run: one file beside the target, replaced by one rename.

``x.safetensors.resume`` holds weights, optimizer moments, the best weights so far, the step and the position in the
data, so weights and optimizer can never be of different steps. It belongs to one command: started again with other
options or inputs, the run stops and names each difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit import events
from nlpkit.artifact import atomic, file
from nlpkit.artifact.provenance import PROMISE, Run, differences, processor, unfinished
from nlpkit.data.order import START, Position
from nlpkit.errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclass
class Progress:
    """Where a run is. ``best_score`` is of the evaluation at ``best_step``; ``stale`` counts evaluations since."""

    step: int = 0
    position: Position = field(default_factory=lambda: dict(START))
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def save(run: Run, progress: Progress, *, model: Arrays, optimizer: Arrays, best: Arrays) -> None:
    """Write the state of a run, atomically."""
    tensors = {
        **{f"model.{name}": value for name, value in model.items()},
        **{f"optimizer.{name}": value for name, value in optimizer.items()},
        **{f"best.{name}": value for name, value in best.items()},
    }
    file.write(
        unfinished(run.output), tensors, kind="resume", config=progress.to_json(), provenance=run.provenance(),
        history={}, determinism={"promise": PROMISE, "processor": processor(run.libraries)},
    )  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """What `save` wrote."""

    progress: Progress
    model: Arrays
    optimizer: Arrays
    best: Arrays


def load(run: Run) -> Saved | None:
    """The unfinished run of this target, None when there is none.

    Errors: a file that another command left (each difference is named), or a damaged one.
    """
    path = unfinished(run.output)
    if run.fresh or not path.exists():
        return None
    found = file.read(path, kind="resume")
    if differing := differences(found.provenance, run.provenance()):
        raise UserError(
            "an unfinished run of another command lies here: " + "; ".join(differing),
            where=path,
            hint="run the command it was started with, or start over with --fresh",
        )

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name[len(prefix) :]: found.array(name) for name in found.tensors if name.startswith(prefix)}

    saved = Saved(Progress(**found.config), part("model."), part("optimizer."), part("best."))
    events.note(f"resuming {run.output.name} at step {saved.progress.step:,}")
    return saved


def discard(output: Path) -> None:
    """Remove the state of a run that is finished, also one that was killed while it was written."""
    path = unfinished(output)
    for name in (path, atomic.partial(path)):
        name.unlink(missing_ok=True)
