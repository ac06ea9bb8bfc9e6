"""nlpkit vectors cooccur: count co-occurrences of words, for GloVe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.world import default_threads
from nlpkit.exchange.tokenizer_opening import tokenizer_of
from nlpkit.vectors.glove.cooccurrence import KIND
from nlpkit.vectors.glove.cooccurrence_count import count_pairs, distance_weights
from nlpkit.vectors.text.counting import Vocabulary
from nlpkit.vectors.text.reading import read

_BYTES_A_WORD = 500  # of a word's text, count and slot in tables


@stage
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
    strip_accents: bool | None = None,
    tokenizer: Path | None = None,
    field: str = "text",
    on_error: str = "error",
    format: str | None = None,
    memory_mb: int = 1024,
    threads: int | None = None,
    log: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Count the co-occurrences of words in a corpus (GloVe: Pennington et al. 2014, sections 3 and 4.2).

    Two words d apart in a sentence, d at most ``window``, count 1/d for each other. Words are chosen as by `nlpkit
    vectors train`: ``lowercase``, ``tokenizer``, ``phrases``, ``min_count``, ``vocab_size``; the others are
    dropped before windows are cut. ``memory_mb`` bounds the memory of text and counts, without the vocabulary. Sums are
    exact, so that neither it nor ``threads`` changes a byte. A killed run leaves nothing and starts over. Errors:
    UserError for wrong options and inputs, for a corpus with too few frequent words or with none that stand together,
    and for a window whose counts would not be exact; RunError when the disk is full.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start("vectors cooccur", locals(), inputs=("corpus", "tokenizer"))
    distance_weights(window, 1)
    with events.log_to(log):
        source = read(run, tokenizer_of(run), threads=threads, dry_run=dry_run)
        vocabulary, text = source.vocabulary, source.text
        distance_weights(window, int(vocabulary.counts[0]))
        if text is None:
            return run.plan(**_cost(vocabulary, window, memory_mb))
        cells = count_pairs(
            text,
            vocabulary.counts,
            window,
            target=run.output,
            memory_bytes=memory_mb << 20,
            threads=threads or default_threads(),
        )
        if not len(cells.columns):
            raise UserError(
                f"no two of the {len(vocabulary.words):,} words stand in one sentence: there is nothing to count",
                hint="a smaller --min-count, or text with longer lines",
            )
        events.note(f"{len(vocabulary.words):,} words stand near each other in {len(cells.columns):,} ways")
        config = {"window": window, "n_cells": len(cells.columns), "n_words": text.words, **source.config}
        tensors = {
            "columns": cells.columns,
            "counts": vocabulary.counts,
            "offsets": cells.offsets,
            "values": cells.values,
        }
        summary = run.write(tensors, kind=KIND, config=config, tokenizer=source.tokenizer_json)
        return {**summary, "vocab_size": len(vocabulary.words), "words": text.words, "cells": len(cells.columns)}


def _cost(vocabulary: Vocabulary, window: int, memory_mb: int) -> dict[str, Any]:
    """What a dry run reports. Only counting gives the number of cells; there are at most as many as pairs."""
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
