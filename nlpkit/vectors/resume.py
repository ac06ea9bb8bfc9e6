"""An unfinished training of word vectors: one file beside the target, replaced by one rename.

``x.safetensors.resume`` holds whatever arrays a method goes on from, and where it is. It belongs to one command, as
that of a model does (`nlpkit.training.resume`, which imports torch).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic, file
from nlpkit.artifact.provenance import PROMISE, Run, differences, processor, unfinished
from nlpkit.errors import UserError

SAVE_SECONDS = 60.0  # between two saves when nothing else was asked

Arrays = Mapping[str, NDArray[Any]]


def save(run: Run, arrays: Arrays, config: Mapping[str, Any]) -> None:
    """Write the state of a run, atomically: its arrays by name, and as ``config`` where it is."""
    file.write(
        unfinished(run.output), arrays, kind="resume", config=config, provenance=run.provenance(), history={},
        determinism={"promise": PROMISE, "processor": processor(run.libraries)},
    )  # fmt: skip


def load(run: Run) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Arrays, in memory, and config of the unfinished run of this target; None when there is none.

    Errors: a file that another command left (each difference is named), or a damaged one.
    """
    path = unfinished(run.output)
    if run.fresh or not path.exists():
        return None
    found = file.read(path, kind="resume")
    if differing := differences(found.provenance, run.provenance()):
        raise UserError("an unfinished run of another command lies here: " + "; ".join(differing), where=path,
                        hint="run the command it was started with, or start over with --fresh")  # fmt: skip
    return {name: np.array(found.array(name)) for name in found.tensors}, found.config


def discard(output: Path) -> None:
    """Remove the state of a run that is finished, also one that was killed while it was written."""
    path = unfinished(output)
    for name in (path, atomic.partial(path)):
        name.unlink(missing_ok=True)
