"""Records for texts as they arrive, or for texts in memory: what `predict` and `embed` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from nlpkit.base import events
from nlpkit.data import in_memory, labelled
from nlpkit.data.in_memory import Texts
from nlpkit.data.readers import Row
from nlpkit.exchange.opening import load
from nlpkit.machine.threads import use_threads
from nlpkit.models.load import Loaded, to_inference
from nlpkit.stages.arriving import as_they_come
from nlpkit.tasks.sequences import Cut, Encoder, Sequences

CHUNK = 512  # texts that are computed together, at most
Record = dict[str, Any]


def records_of(
    rows: Iterator[list[Row]], encoder: Encoder, infer: Callable[[Sequences], list[Record]], *, threads: int | None
) -> Iterator[list[Record]]:
    """``infer``'s record for each row, after its ``id`` where it has one; a chunk of rows at a time.

    Rows have ``text``, and ``pair`` if one has it. After the last row a note reports how many texts were cut, or that
    there were none.
    """
    cut = Cut()
    for chunk in rows:
        pairs = [row["pair"] for row in chunk] if "pair" in chunk[0] else None
        sequences = encoder.encode([row["text"] for row in chunk], pairs)
        with use_threads(threads):
            records = infer(sequences)
        cut += sequences.cut
        yield [
            {**({"id": row["id"]} if "id" in row else {}), **record} for row, record in zip(chunk, records, strict=True)
        ]
    if not cut.of:
        events.note("0 texts")
    if cut.texts:
        events.note(encoder.said(cut))


def ready(model: Path | Loaded, *, int8: bool, device: str) -> Loaded:
    """A model for inference: that of a file or directory, or a copy of one that is loaded."""
    if isinstance(model, Loaded):
        return model.for_inference(int8=int8, device=device)
    return to_inference(load(model), int8=int8, device=device)


def chunks(
    data: Path | Texts,
    *,
    text: str = "text",
    pair: str | None = None,
    on_error: str = "error",
    format: str | None = None,
    named: bool = False,
) -> Iterator[list[Row]]:
    """Rows of a file as they arrive, or of texts in memory (pairs of them, where there is a column ``pair``)."""
    if isinstance(data, Path):
        rows = labelled.stream(data, text=text, pair=pair, on_error=on_error, format=format, named=named)
        return as_they_come(rows, CHUNK)
    rows = in_memory.rows(data, pairs=pair is not None)
    return iter(lambda: list(islice(rows, CHUNK)), [])
