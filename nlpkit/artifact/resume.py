"""An unfinished run: one file beside the target, replaced by one rename.

``x.safetensors.resume`` holds the arrays that a stage continues from, and its position. It belongs to one command:
when that is started again with other options or inputs, it stops and names each difference. Only the leading process
writes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import atomic, file
from nlpkit.artifact.beside import unfinished
from nlpkit.artifact.promise import promised
from nlpkit.artifact.provenance import Run, differences
from nlpkit.base.errors import Interrupted, UserError
from nlpkit.base.world import world

SAVE_SECONDS = 60.0  # between two saves without --save-every

Arrays = Mapping[str, np.ndarray[Any, Any]]


def save(run: Run, arrays: Arrays, config: Mapping[str, Any]) -> None:
    """Write the state of a run, atomically: its arrays by name, and its position as ``config``."""
    if world().leads:
        run.check_inputs()
        file.write(
            unfinished(run.output),
            arrays,
            kind="resume",
            config=config,
            provenance=run.provenance(),
            history={},
            determinism=promised(run.libraries),
        )


def load(run: Run) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]] | None:
    """Arrays, read-only and memory-mapped, and config of the unfinished run of this target; None when there is none.

    Errors: a file that another command left (each difference is named), or a damaged one.
    """
    path = unfinished(run.output)
    if not begun(run):
        return None
    state = file.read(path, kind="resume")
    if differing := differences(state.provenance, run.provenance()):
        raise UserError(
            "an unfinished run of another command lies here: " + "; ".join(differing),
            where=path,
            hint="run the command it was started with, or start over with --fresh",
        )
    return {name: state.array(name) for name in state.tensors}, state.config


def begun(run: Run) -> bool:
    """Whether a state of an unfinished run lies beside the target, which `load` reads or refuses."""
    return not run.fresh and unfinished(run.output).exists()


class Saves:
    """When the state of a run is saved: once a minute, or every n steps or epochs; and when the run is to stop."""

    def __init__(self, run: Run, every: int | None) -> None:
        self.run, self.every, self.last = run, every, time.monotonic()

    def due(self, done: int | None) -> bool:
        """Whether to save now, after ``done`` steps or epochs (None: in the middle of one)."""
        if self.every is None:
            return time.monotonic() - self.last >= SAVE_SECONDS
        return done is not None and done % self.every == 0

    def saved(self, *, stop: bool, where: str) -> None:
        """The state was written. Errors: Interrupted if the run is to ``stop`` here."""
        self.last = time.monotonic()
        if stop:
            raise Interrupted(
                f"interrupted {where}", where=self.run.output, hint="the same command again goes on from here"
            )


def discard(output: Path) -> None:
    """Remove the state of a run that is finished, and what a run that was killed while saving left."""
    if world().leads:
        path = unfinished(output)
        path.unlink(missing_ok=True)
        atomic.clean(path)
