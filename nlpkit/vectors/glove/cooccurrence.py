"""nlpkit vectors cooccur: how often words stand near each other, as a file that GloVe learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.vectors.glove.cooccurrence_count import Cells

KIND = "cooccurrence"


@dataclass(frozen=True)
class Cooccurrence:
    """A file of `cooccur`: the words, how often each occurs [V], and the table above its diagonal."""

    words: list[str]
    counts: NDArray[np.int64]
    cells: Cells
    config: dict[str, Any]
    tokenizer: dict[str, Any] | None


def load(path: Path) -> Cooccurrence:
    """Open a file of counts; the cells stay on disk. Errors: anything else, and no whole table, are a UserError."""
    artifact = file.read(path, kind=KIND)
    config = artifact.config
    words = config.pop("words")
    cells = Cells(*(artifact.array(name) for name in ("offsets", "columns", "values")))
    counts = artifact.array("counts")
    if len(words) < 2 or not len(cells.columns):
        raise UserError(
            f"has {len(words):,} words and {len(cells.columns):,} cells; at least 2 and 1 are needed", where=path
        )
    return Cooccurrence(words, counts, cells, config, artifact.tokenizer)
