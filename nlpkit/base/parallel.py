"""Work on all cores with a result that does not depend on their number: results come in the order of the items."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from types import ModuleType
from typing import Any, TypeVar

from nlpkit.base.errors import RunError
from nlpkit.base.world import default_threads

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
    Workers are fresh processes (spawned): forking one that has used torch's threads is not safe. Errors: what
    ``function`` raises; RunError when a worker is killed.
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
    with _safe_path():
        pool: Any = ProcessPoolExecutor(workers, context, _begin, (prepare, arguments))
    pending: deque[Future[R]] = deque()
    try:
        for item in chain(first, stream):
            with _safe_path(), _no_main(), _uninterrupted():
                pending.append(pool.submit(function, item))
            if len(pending) >= 3 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, most often because memory ran out", hint="fewer --threads need less memory"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_threads(prepare: Callable[[], Callable[[T], R]], items: Iterable[T], *, threads: int | None) -> Iterator[R]:
    """`in_order` for compiled code that releases the GIL: threads, each of which calls a function of its own that
    ``prepare`` returns."""
    workers = threads or default_threads()
    if workers == 1:
        yield from map(prepare(), items)
        return
    local = threading.local()

    def work(item: T) -> R:
        if not hasattr(local, "function"):
            local.function = prepare()
        result: R = local.function(item)
        return result

    pool = ThreadPoolExecutor(workers)
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= 3 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Prepare a worker: it leaves interrupts to the parent, and ends when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Workers started here never receive an interrupt, not even while they import: they inherit the blocked signals. An
    interrupt during the block reaches this process at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes started here do not import from the current folder, which may hold anybody's files."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _no_main() -> Iterator[None]:
    """Workers started here do not import the program's main module: they do not need it, and a script that calls nlpkit
    would run a second time."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
