"""What a run reports while it works.

Packages below the command line know no terminal. They report with `emit`, and listeners (a progress display, a
``--log`` file, a test) receive it. Events never reach an artefact, so they may hold times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit.base.canonical import strict, without_nan
from nlpkit.base.errors import RunError, UserError
from nlpkit.base.world import world

Listener = Callable[[dict[str, Any]], None]
_listeners: list[Listener] = []


def emit(event: str, **fields: Any) -> None:
    """Send an event to every listener. Events: ``stage`` begins a stage (name, output), ``progress`` counts (label,
    done, total or None, unit), ``training`` begins or resumes training (its settings, the step it continues from),
    ``pace`` is each step, ``step`` one that is reported, ``evaluation`` a measurement during training, ``note`` a
    sentence for people, ``done`` the end of a stage."""
    record = {"event": event, **fields}
    for listener in tuple(_listeners):
        listener(record)


def note(text: str) -> None:
    """Send one sentence to the user (stderr on the command line)."""
    emit("note", text=text)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Call ``listener`` with every event inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def silence() -> Iterator[None]:
    """No listener hears what is emitted inside the block."""
    listeners = _listeners.copy()
    _listeners.clear()
    try:
        yield
    finally:
        _listeners[:] = listeners


@contextmanager
def log_to(path: str | Path | None) -> Iterator[None]:
    """Append every event but progress and pace to a JSONL file, one a line, as it happens. None logs nothing. Only the
    leading process logs."""
    if path is None or not world().leads:
        yield
        return
    try:
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"cannot write the log: {error.strerror}", where=path) from None

    def write(record: dict[str, Any]) -> None:
        if record["event"] not in ("progress", "pace"):
            try:
                file.write((strict(without_nan(record)) + "\n").encode("utf-8", "backslashreplace"))
            except OSError as error:
                raise RunError(f"cannot write the log: {error.strerror}", where=path) from None

    with file, listen(write):
        yield
