"""Items in batches of those that are there: a slow pipe is not kept waiting, a fast one's go through many at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


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
