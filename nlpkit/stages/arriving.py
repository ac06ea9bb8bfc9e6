"""Batches of the items that have arrived: items of a slow pipe are not held back, those of a fast one come in large
batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class _End:
    """The mark after the last item: the error that ended reading, None at the end of the input."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def as_they_come(items: Iterator[T], most: int) -> Iterator[list[T]]:
    """Lists of at least one and at most ``most`` items: those that have arrived when the last list is done.

    A thread reads ahead, ``most`` items at most. Its error is raised here, after the items before it.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(most)

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                waiting.put(item)
        except BaseException as reason:  # noqa: BLE001 - raised again by the consumer
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
