"""nlpkit vectors glove: word vectors from co-occurrence counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlpkit.artifact import resume
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.base.world import default_threads
from nlpkit.machine.kernel import LANES
from nlpkit.vectors.file import KIND
from nlpkit.vectors.glove import cooccurrence
from nlpkit.vectors.glove.glove import Learner, learn_all
from nlpkit.vectors.glove.glove_cells import CELL, STRIPES, sort_in_blocks

_BYTES_A_WORD = 200  # of a word's text and slot in tables


@stage
def glove(
    counts: Path,
    output: Path,
    *,
    dim: int = 100,
    epochs: int = 25,
    lr: float = 0.05,
    x_max: float = 100.0,
    alpha: float = 0.75,
    seed: int = 0,
    threads: int | None = None,
    save_every: int | None = None,
    log: Path | None = None,
    force: bool = False,
    fresh: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learn word vectors from a file of `nlpkit vectors cooccur` (GloVe: Pennington et al. 2014).

    Weighted least squares on the logarithms of the counts (equation 8), weights (x / ``x_max``)^``alpha`` up to 1, by
    AdaGrad with rate ``lr``. The result is the sum of a word's two vectors (section 4.2). A run that was killed goes on
    from its last save: once a minute, or every ``save_every`` epochs. The reported loss is the mean over an epoch's
    steps, each before its step. Errors: UserError for wrong options and inputs; RunError when the disk is
    full or a vector is not finite; Interrupted after Ctrl-C or SIGTERM, state saved.
    """
    run = Run.start("vectors glove", locals(), inputs=("counts",), libraries=("numba", "numpy"))
    for name, value in (("lr", lr), ("x-max", x_max)):
        if value <= 0:
            raise UserError(f"{name} is {value}, expected more than 0")
    path = run.paths("counts")[0]
    with events.log_to(log):
        cooccurrences = cooccurrence.load(path)
        if dry_run:
            return run.plan(**_cost(cooccurrences, dim))
        address = Address(seed, ("vectors", "glove"))
        blocks = sort_in_blocks(
            cooccurrences.cells, x_max=x_max, alpha=alpha, seed=address.at("cells"), where=path, target=run.output
        )
        learner = Learner(blocks, dim, lr, address)
        measured = learn_all(learner, run, epochs, save_every, threads or default_threads())
        vectors = learner.vectors()
        config = {
            **cooccurrences.config,
            "method": "glove",
            "dim": dim,
            "epochs": epochs,
            "lr": lr,
            "x_max": x_max,
            "alpha": alpha,
            "words": cooccurrences.words,
        }
        summary = run.write(
            {**vectors, "counts": cooccurrences.counts}, kind=KIND, config=config, tokenizer=cooccurrences.tokenizer
        )
        resume.discard(run.output)
        return {
            **summary,
            "vocab_size": len(cooccurrences.words),
            "cells": len(cooccurrences.cells.columns),
            "loss": measured,
        }


def _cost(cooccurrences: cooccurrence.Cooccurrence, dim: int) -> dict[str, Any]:
    """What a dry run reports: sizes, the memory of the matrices and the vocabulary, and the disk of the sorted
    cells."""
    words, width = len(cooccurrences.words), -(-dim // LANES) * LANES
    return {
        "vocab_size": words,
        "cells": len(cooccurrences.cells.columns),
        "parameters": 2 * words * (dim + 1),
        "memory_bytes": 4 * 2 * words * 2 * (width + 1) + _BYTES_A_WORD * words,
        "disk_bytes": CELL.itemsize * len(cooccurrences.cells.columns) * (STRIPES + 1) // STRIPES,
    }
