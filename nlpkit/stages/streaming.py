"""Texts answered as they come: what `predict` and `embed` share."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nlpkit.base import events
from nlpkit.data.readers import Row
from nlpkit.machine.threads import use_threads
from nlpkit.tasks.sequences import Encoder, Sequences

T = TypeVar("T")
CHUNK = 512  # texts that are answered together, at most
Record = dict[str, Any]


def answers(
    rows: Iterator[Row], encoder: Encoder, answer: Callable[[Sequences], list[Record]], *, threads: int | None
) -> Iterator[list[Record]]:
    """``answer``'s record for each row, after its ``id`` where it has one; as many at a time as were there to be read.

    Rows have ``text``, and ``pair`` if one has it. After the last, how many texts were cut is said.
    """
    cut = 0
    for chunk in as_they_come(rows, CHUNK):
        pairs = [row["pair"] for row in chunk] if "pair" in chunk[0] else None
        sequences = encoder.encode([row["text"] for row in chunk], pairs)
        with use_threads(threads):
            records = answer(sequences)
        cut += sequences.truncated
        yield [
            {**({"id": row["id"]} if "id" in row else {}), **record} for row, record in zip(chunk, records, strict=True)
        ]
    if cut:
        texts = "text is" if cut == 1 else "texts are"
        events.note(f"{cut:,} {texts} longer than {encoder.max_len} tokens and {'was' if cut == 1 else 'were'} cut")


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
