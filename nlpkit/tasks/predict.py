"""nlpkit predict: a label for each text, as the texts come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nlpkit.data import labelled
from nlpkit.models.load import load
from nlpkit.tasks.reading import reader
from nlpkit.tasks.scoring import score
from nlpkit.training.threads import use_threads

T = TypeVar("T")
CHUNK = 512  # texts that are answered together, at most


def predict(
    model: Path,
    data: Path = Path("-"),
    *,
    text: str | None = None,
    pair: str | None = None,
    on_error: str = "error",
    max_len: int | None = None,
    batch_tokens: int = 4096,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[dict[str, Any]]:
    """One record for each text, in order: ``label``, ``probabilities`` by label, and ``id`` where the text has one.

    ``data`` is a file (JSONL, CSV, TSV, Parquet, or a text a line), or "-" for stdin. Texts are answered as they come,
    so that a slow pipe is not kept waiting, and no answer depends on which texts were answered with it. Errors:
    UserError for a model without a classifier, at once, and for bad lines, after the answers to those before them.
    """
    options = {"text": text, "pair": pair, "on_error": on_error, "max_len": max_len}
    return chain.from_iterable(
        predict_batches(model, data, options, batch_tokens=batch_tokens, device=device, threads=threads)
    )


def predict_batches(
    model: Path, data: Path, options: dict[str, Any], *, batch_tokens: int, device: str, threads: int | None
) -> Iterator[list[dict[str, Any]]]:
    """`predict`, as many at a time as were there to be read. The model is opened now, the data when it is asked for."""
    loaded = load(model)
    task, encoder = reader(loaded, options)
    network = loaded.model.to(device)
    rows = labelled.stream(data, text=task.text, pair=task.pair, on_error=options["on_error"])

    def answers() -> Iterator[list[dict[str, Any]]]:
        for chunk in as_they_come(rows, CHUNK):
            pairs = None if task.pair is None else [row["pair"] for row in chunk]
            sequences = encoder.encode([row["text"] for row in chunk], pairs)
            with use_threads(threads):
                scores = score(network, task, sequences, batch_tokens=batch_tokens, device=device)
            yield [
                {**({"id": row["id"]} if "id" in row else {}), **record}
                for row, record in zip(chunk, task.decode(np.asarray(scores)), strict=True)
            ]

    return answers()


class _End:
    """Put after the last item: what ended the reading, None when nothing more was there."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def as_they_come(items: Iterator[T], most: int) -> Iterator[list[T]]:
    """Lists of at least one and at most ``most`` items: those that are there when the last list has been dealt with.

    A thread reads ahead, ``most`` items at most. What it raises is raised here, after the items before it.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(most)

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                waiting.put(item)
        except BaseException as reason:  # noqa: BLE001 - it is raised again, by the one who waits
            error = reason
        waiting.put(_End(error))

    threading.Thread(target=read, daemon=True).start()
    while True:
        chunk: list[T] = []
        item = waiting.get()
        while not isinstance(item, _End):
            chunk.append(item)
            if len(chunk) == most or waiting.empty():
                break
            item = waiting.get()
        if chunk:
            yield chunk
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
