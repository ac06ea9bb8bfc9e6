"""The output of a command: data on stdout, messages on stderr, a live line only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.base import events
from nlpkit.base.world import world
from nlpkit.cli import display
from nlpkit.cli.terminal import record, say

SCHEMA = 1  # of the objects that --json prints


def call(
    command: str,
    arguments: Mapping[str, Any],
    *,
    json: bool = False,
    show: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Call the function behind a command with the command line's arguments, and print what it returns.

    ``show`` prints the result for people; without it, one line on stderr names the file that was written.
    """
    options = {name: value for name, value in arguments.items() if name != "json"}
    with progress(quiet=not world().leads, name=command):
        result: dict[str, Any] = already(command, options) or getattr(nlpkit, _attribute(command))(**options)
    if world().size > 1:
        from nlpkit.training.parallel.distributed import leave

        leave(together=True)
        if not world().leads:  # one process prints
            return result
    if json:
        print_json(result)
    elif result.get("dry_run") and show is None:
        record(result, indent=2)
    elif show is not None:
        show(result)
    elif "output" in result:
        written(result)
    return result


def already(command: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a result that exists already, if that can be decided without importing torch."""
    output = arguments.get("output")
    if not isinstance(output, Path) or not output.is_file():
        return None
    from nlpkit.stages.again import already_made

    return already_made(command, arguments)


def _attribute(command: str) -> str:
    return "import_" if command == "import" else command.replace(" ", "_")


def print_json(value: Mapping[str, Any]) -> None:
    """One object, alone on stdout, with a ``schema`` number."""
    record({"schema": SCHEMA, **value})


def written(result: Mapping[str, Any]) -> None:
    """The last line of a stage: the file, its kind, size and checksum."""
    kind, size = result.get("kind", "file"), result.get("bytes")
    parts = [f"{result['output']}: {kind}"]
    if size is not None:
        parts.append(human_bytes(int(size)))
    if "sha256" in result:
        parts.append(f"sha256 {result['sha256'][:16]}")
    if result.get("already_made"):
        parts.append("already made by this command from these inputs")
    say(", ".join(parts))


def number(value: float | None, digits: int) -> str:
    """A measured value for display; "undefined" for None."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def human_bytes(size: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


@contextmanager
def progress(*, quiet: bool, name: str = "", reads: Path | None = None) -> Iterator[None]:
    """Show events while a stage works: a live line on a terminal, else one line a minute; notes always. ``name`` is
    the command's, for stages that emit no name; ``reads``: its input, which may be typed on the terminal."""
    if quiet:
        yield
    elif typed(reads):
        with events.listen(note):
            yield
    elif sys.stderr.isatty():
        with display.LiveLine() as line, events.listen(line):
            yield
    else:
        with display.Heartbeat(say, name) as heartbeat, events.listen(heartbeat):
            yield


def typed(reads: Path | None) -> bool:
    """Whether the input is typed on the terminal; says so, because the command waits for it."""
    waits = str(reads) == "-" and sys.stdin.buffer.isatty()
    if waits:
        say("reading texts from the terminal, one a line; Ctrl-D ends")
    return waits


def note(record: Mapping[str, Any]) -> None:
    """Print a note on stderr; other events are ignored."""
    if record["event"] == "note":
        say(record["text"])
