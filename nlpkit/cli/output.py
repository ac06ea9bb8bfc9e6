"""How a command speaks: data on stdout, people on stderr, a progress bar only on a terminal."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import nlpkit
from nlpkit import events

HEARTBEAT = 60.0  # seconds between two lines of a long run that no terminal watches
SCHEMA = 1  # of the objects that --json prints


def call(command: str, arguments: Mapping[str, Any], *, json: bool = False,
         show: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """Call the function behind a command with the command line's arguments, and print what it returns.

    ``show`` prints the result for people; without it, one line on stderr names the file that was written.
    """
    given = {name: value for name, value in arguments.items() if name != "json"}
    with progress(quiet=False):
        result: dict[str, Any] = getattr(nlpkit, _attribute(command))(**given)
    if json:
        print_json(result)
    elif result.get("dry_run"):
        print(jsonlib.dumps(result, indent=2, ensure_ascii=False))
    elif show is not None:
        show(result)
    elif "output" in result:
        written(result)
    return result


def _attribute(command: str) -> str:
    return "import_" if command == "import" else command.replace(" ", "_")


def print_json(value: Mapping[str, Any]) -> None:
    """One object, alone on stdout, with a ``schema`` number."""
    print(jsonlib.dumps({"schema": SCHEMA, **value}, ensure_ascii=False))


def written(result: Mapping[str, Any]) -> None:
    """The one line that ends a stage: what was written, how large, and its fingerprint."""
    kind, size = result.get("kind", "file"), result.get("bytes")
    parts = [f"{result['output']}: {kind}"]
    if size is not None:
        parts.append(human_bytes(int(size)))
    if "sha256" in result:
        parts.append(f"sha256 {result['sha256'][:16]}")
    say(", ".join(parts))


def say(text: str) -> None:
    """A sentence for people. A stderr that is full, or that nobody reads any more, ends no run."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def human_bytes(size: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


@contextmanager
def progress(*, quiet: bool) -> Iterator[None]:
    """Show events while a stage works: a bar on a terminal, else one line a minute; notes always."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with _Bar() as bar, events.listen(bar):
            yield
    else:
        with events.listen(_Heartbeat()):
            yield


def describe(record: Mapping[str, Any]) -> str:
    """The figures of a training step or a count, in words."""
    if record["event"] == "step":
        parts = [f"step {record['step']:,}/{record['steps']:,}", f"loss {record['loss']:.3f}"]
        if record.get("tokens_per_second"):
            parts.append(f"{record['tokens_per_second']:,.0f} tokens/s")
        return ", ".join(parts)
    total = f"/{record['total']:,}" if record.get("total") else ""
    return f"{record['label']} {record['done']:,}{total} {record.get('unit', '')}".rstrip()


def describe_evaluation(record: Mapping[str, Any]) -> str:
    """One line for a measurement during training."""
    figures = ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    best = " (best so far)" if record.get("best") else ""
    return f"evaluation at step {record['step']:,}: {figures}{best}"


class _Heartbeat:
    """For logs: a line a minute, and each evaluation."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "note":
            say(record["text"])
        elif event == "evaluation":
            say(describe_evaluation(record))
        elif event in ("step", "progress") and time.monotonic() - self.last >= HEARTBEAT:
            self.last = time.monotonic()
            say(describe(record))


class _Bar:
    """For terminals: one bar, replaced when the stage changes."""

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.display = Progress(
            SpinnerColumn(), TextColumn("[bold]{task.fields[stage]}"), BarColumn(bar_width=28),
            TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, refresh_per_second=8,
        )  # fmt: skip
        self.display.start()
        self.task = self.display.add_task("", total=None, stage="")
        self.stage = ""
        return self

    def __exit__(self, *_: object) -> None:
        self.display.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "stage":
            self.stage = record["name"]
            self.display.reset(self.task, total=None, description="", stage=self.stage)
        elif event == "note":
            self.display.console.print(record["text"], markup=False, highlight=False)
        elif event == "evaluation":
            self.display.console.print(describe_evaluation(record), markup=False, highlight=False)
        elif event == "step":
            self.display.update(self.task, completed=record["step"], total=record["steps"], stage=self.stage,
                                description=describe(record))  # fmt: skip
        elif event == "progress":
            self.display.update(self.task, completed=record["done"], total=record.get("total"), stage=self.stage,
                                description=describe(record))  # fmt: skip
