"""nlpkit predict: a label for each text, as the texts arrive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from nlpkit.base import limits
from nlpkit.base.errors import refuse
from nlpkit.data.in_memory import Texts
from nlpkit.machine.device import choose_device
from nlpkit.models.load import Loaded
from nlpkit.stages.streaming import chunks, ready, records_of
from nlpkit.tasks.reading import reader
from nlpkit.tasks.scoring import score
from nlpkit.tasks.sequences import Sequences


def predict(
    model: Path | Loaded,
    data: Path | Texts = Path("-"),
    *,
    text: str | None = None,
    pair: str | None = None,
    on_error: str = "error",
    format: str | None = None,
    max_len: int | None = None,
    batch_tokens: int = 4096,
    int8: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[dict[str, Any]] | list[dict[str, Any]]:
    """One record for each text, in order: ``label``, ``probabilities`` by label, and ``id`` where the text has one.
    Of a classifier with one output it has ``score`` instead of the first two (`nlpkit.tasks.score`).

    ``data`` is a file (JSONL, CSV, TSV, Parquet, or a text a line), or "-" for stdin, and the records are an iterator;
    or a list of texts, of pairs (text, other) for a model of pairs, and the records are a list. Records
    come as the texts arrive, so that a slow pipe is not held back, and no record depends on the other texts of its
    batch. ``model`` may be what `nlpkit.load` returns; ``text`` and ``pair`` name columns of a file; ``int8`` computes
    with int8 products (nlpkit/layers/int8.py). Errors: UserError for a model without a classifier, at once, and for
    bad lines, after the records of those before them.
    """
    limits.check("predict", locals())
    if not isinstance(data, Path):
        refuse({"text": text, "pair": pair, "format": format}, "texts in memory have no columns")
    options = {"text": text, "pair": pair, "on_error": on_error, "format": format, "max_len": max_len}
    records = chain.from_iterable(
        predict_batches(model, data, options, batch_tokens=batch_tokens, int8=int8, device=device, threads=threads)
    )
    return records if isinstance(data, Path) else list(records)


def predict_batches(
    model: Path | Loaded,
    data: Path | Texts,
    options: dict[str, Any],
    *,
    batch_tokens: int,
    int8: bool,
    device: str,
    threads: int | None,
) -> Iterator[list[dict[str, Any]]]:
    """`predict`, as many records at a time as texts had arrived. The model is opened now, the data at the first one."""
    device = choose_device(device)
    loaded = ready(model, int8=int8, device=device)
    task, encoder = reader(loaded, options)
    network = loaded.model.to(device)
    rows = chunks(
        data,
        text=task.text,
        pair=task.pair,
        on_error=options["on_error"],
        format=options.get("format"),
        named=options["text"] is not None,
    )

    def infer(sequences: Sequences) -> list[dict[str, Any]]:
        return task.decode(score(network, task, sequences, batch_tokens=batch_tokens, device=device))

    return records_of(rows, encoder, infer, threads=threads)
