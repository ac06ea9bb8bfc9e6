"""The file of co-occurrence counts that nlpkit vectors cooccur writes and GloVe trains on."""

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
    """Co-occurrence counts: the words, their counts [V], and the upper triangle of the table."""

    words: list[str]
    counts: NDArray[np.int64]
    cells: Cells
    config: dict[str, Any]
    tokenizer: dict[str, Any] | None


def load(path: Path) -> Cooccurrence:
    """Open a file of counts; the cells stay on disk. Errors: a UserError for any other file and for an incomplete
    table."""
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
