"""Work on all cores whose result does not depend on how many there are: results come in the order of the items."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import Any, TypeVar

from nlpkit.artifact.provenance import default_threads

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[R]:
    """``function`` of each item, in order, in worker processes; at most a few items a worker are in memory.

    ``prepare(*arguments)`` runs once in each worker. One thread, or a single item, needs no process and gets none.
    Workers are fresh processes (spawned): forking one that has used torch's threads is not safe.
    """
    workers = threads or default_threads()
    stream = iter(items)
    first = list(islice(stream, 2))
    if workers == 1 or len(first) < 2:
        if prepare is not None:
            prepare(*arguments)
        yield from map(function, chain(first, stream))
        return
    context = multiprocessing.get_context("spawn")
    pool: Any = ProcessPoolExecutor(workers, context, prepare, arguments)
    pending: deque[Future[R]] = deque()
    try:
        for item in chain(first, stream):
            pending.append(pool.submit(function, item))
            if len(pending) >= 3 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
