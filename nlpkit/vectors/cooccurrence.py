"""nlpkit vectors cooccur: how often words stand near each other, as a file that GloVe learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit import events
from nlpkit.artifact import file
from nlpkit.artifact.provenance import Run, default_threads
from nlpkit.errors import UserError
from nlpkit.vectors.cooccurrence_count import Cells, count_pairs, distance_weights
from nlpkit.vectors.counting import Vocabulary
from nlpkit.vectors.reading import read

KIND = "cooccurrence"
_BYTES_A_WORD = 500  # of a word's text, count and place in tables


def cooccur(
    corpus: Sequence[Path],
    output: Path,
    *,
    window: int = 10,
    min_count: int = 5,
    vocab_size: int | None = None,
    phrases: int | None = None,
    phrase_threshold: float | None = None,
    lowercase: bool | None = None,
    tokenizer: Path | None = None,
    field: str = "text",
    on_error: str = "error",
    memory_mb: int = 1024,
    threads: int | None = None,
    log: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Count which words stand near which in a corpus (GloVe: Pennington et al. 2014, sections 3 and 4.2).

    Two words d apart in a sentence, d at most ``window``, count 1/d for each other. Words are chosen as by `nlpkit
    vectors train`: ``lowercase``, ``tokenizer``, ``phrases``, ``min_count``, ``vocab_size``; those that are left out
    are dropped before windows are cut. ``memory_mb`` bounds what is held of text and counts; the vocabulary comes on
    top. Sums are exact, so that neither it nor ``threads`` changes a byte. A killed run leaves nothing and starts over.
    Errors: UserError for wrong options and inputs, for a corpus with too few frequent words or with none that stand
    together, and for a window whose counts would not be exact; RunError when the disk is full.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start("vectors cooccur", locals(), inputs=("corpus", "tokenizer"))
    for name, value in (("window", window), ("min_count", min_count), ("memory_mb", memory_mb)):
        if value < 1:
            raise UserError(f"{name} is {value}, expected at least 1")
    distance_weights(window, 1)
    with events.log_to(log):
        found = read(run, threads=threads, dry_run=dry_run)
        vocabulary, text = found.vocabulary, found.text
        distance_weights(window, int(vocabulary.counts[0]))
        if text is None:
            return run.plan(**_cost(vocabulary, window, memory_mb))
        cells = count_pairs(
            text, vocabulary.counts, window, target=run.output, memory_bytes=memory_mb << 20,
            threads=threads or default_threads(),
        )  # fmt: skip
        if not len(cells.columns):
            raise UserError(f"no two of the {len(vocabulary.words):,} words stand in one sentence: there is nothing to "
                            "count", hint="a smaller --min-count, or text with longer lines")  # fmt: skip
        events.note(f"{len(vocabulary.words):,} words stand near each other in {len(cells.columns):,} ways")
        config = {"window": window, "n_cells": len(cells.columns), "n_words": text.words, **found.config}
        tensors = {
            "columns": cells.columns, "counts": vocabulary.counts, "offsets": cells.offsets, "values": cells.values,
        }  # fmt: skip
        summary = run.write(tensors, kind=KIND, config=config, tokenizer=found.tokenizer_json)
        return {**summary, "vocab_size": len(vocabulary.words), "words": text.words, "cells": len(cells.columns)}


def _cost(vocabulary: Vocabulary, window: int, memory_mb: int) -> dict[str, Any]:
    """What a dry run tells. How many cells there will be only counting can say; there are not more than pairs."""
    words, text = len(vocabulary.words), int(vocabulary.counts.sum())
    most = min(text * window, words * (words + 1) // 2)
    return {
        "vocab_size": words,
        "words": text,
        "corpus_words": vocabulary.corpus_words,
        "most_cells": most,
        "memory_bytes": (memory_mb << 20) + _BYTES_A_WORD * words,
        "most_disk_bytes": 4 * text + 8 * most,
    }


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
    size = len(cells.columns)
    whole = len(cells.values) == size and len(cells.offsets) == len(words) + 1 == len(counts) + 1
    kinds = [array.dtype.kind + str(array.ndim) for array in (cells.offsets, cells.columns, cells.values, counts)]
    if not (whole and len(words) > 1 and size and kinds == ["i1", "u1", "f1", "i1"]):
        raise UserError(f"has {len(words):,} words, {size:,} columns and {len(cells.values):,} values: no whole table",
                        where=path)  # fmt: skip
    if cells.offsets[0] != 0 or cells.offsets[-1] != size or (np.diff(cells.offsets) < 0).any():
        raise UserError("has rows that do not follow each other", where=path)
    return Cooccurrence(words, counts, cells, config, artifact.tokenizer)
