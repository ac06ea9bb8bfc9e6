"""The decorator of every function that writes an artefact: it returns early when the result exists already, and
releases the target's lock however the function ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from typing import Any, ParamSpec

P = ParamSpec("P")
_open: ContextVar[ExitStack | None] = ContextVar("_open", default=None)


class AlreadyMade(Exception):
    """Not an error: the target is what this very run would write. ``summary`` is the stage's, with ``already_made``."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary
        super().__init__("already made")


def stage(function: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """A function that begins with `nlpkit.artifact.provenance.Run.start`."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **options: P.kwargs) -> dict[str, Any]:
        with ExitStack() as stack:
            before = _open.set(stack)
            try:
                return function(*args, **options)
            except AlreadyMade as already:
                return already.summary
            finally:
                _open.reset(before)

    return wrapper


def until_the_stage_ends(context: AbstractContextManager[Any]) -> None:
    """Enter a context that is left when the stage that runs now ends; outside of a stage, never enter it."""
    stack = _open.get()
    if stack is not None:
        stack.enter_context(context)
