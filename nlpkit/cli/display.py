"""The progress display of a stage: one live line on a terminal, a line at intervals elsewhere.

The live line of a training run shows the step, the loss and a sparkline of its last values, tokens per second, the
fraction of this machine's peak in a matrix product, and the remaining time. Parts that do not fit are dropped, the
least important first. A display only listens to events, so it cannot change a result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nlpkit.cli import terminal
from nlpkit.cli.pace import Pace
from nlpkit.cli.terminal import visible

HEARTBEAT = 60.0  # seconds between two lines of a long run without a terminal
FIRST_BEAT = 10.0  # seconds before the first line
SPARKS = "▁▂▃▄▅▆▇█"
REPORTS = 16  # values in the sparkline
BAR = 24  # characters


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


def sparkline(values: Iterable[float]) -> str:
    """Numbers as block characters, the lowest as the lowest block; equal numbers are all low."""
    numbers = list(values)
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    if not high > low:
        return SPARKS[0] * len(numbers)
    return "".join(SPARKS[round((value - low) / (high - low) * (len(SPARKS) - 1))] for value in numbers)


def clock(seconds: float) -> str:
    """A time: 75 -> 1:15, 4000 -> 1:06:40, two days and more in days."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watched:
    """The state of a stage from its events, and the parts of a progress line.

    ``live``: the line is on a terminal. Only then the peak is measured, once, in a few milliseconds.
    """

    def __init__(self, *, live: bool = False) -> None:
        self.live, self.peak = live, None if live else 0.0
        self._stage("")

    def _stage(self, name: str) -> None:
        self.name, self.began = name, time.monotonic()
        self.record: Mapping[str, Any] = {}
        self.losses: tuple[float, ...] = ()
        self.device = "cpu"
        self.peak_fraction: float | None = None
        # (count, time) of the first and the last event: steps before a resume took no time of this process.
        self.first: tuple[int, float] | None = None
        self.last = (0, 0.0)

    def hear(self, record: Mapping[str, Any]) -> None:
        """One event."""
        event, now = record["event"], time.monotonic()
        if event == "stage":
            self._stage(record["name"])
        elif event == "training":
            self.device = str(record["options"].get("device", "cpu"))
            self.record, self.first, self.last = {}, (record["step"], now), (record["step"], now)
        elif event in ("step", "progress"):
            done = record["step" if event == "step" else "done"]
            if self.first is None or record.get("label") != self.record.get("label") or done < self.last[0]:
                self.first = (done, now)  # a new count begins
            self.last, self.record = (done, now), record
            if event == "step":
                self.losses = (*self.losses, record["loss"])[-REPORTS:]
                self.peak_fraction = self._peak_fraction(record)

    def _peak_fraction(self, record: Mapping[str, Any]) -> float | None:
        """The fraction of this machine's peak in a matrix product; None where the run does not report its operations,
        or is on another device."""
        if not (self.live and record.get("operations") and record.get("tokens")) or self.device != "cpu":
            return None
        if self.peak is None:
            from nlpkit.training.planning.estimate import matrix_speed

            self.peak = matrix_speed(512)
        per_second = record["operations"] * record["tokens_per_second"] / record["tokens"]
        return float(per_second / self.peak)

    def total(self) -> int | None:
        count = self.record.get("steps", self.record.get("total"))
        return count if isinstance(count, int) and count > 0 else None

    def left(self, now: float) -> float | None:
        """Remaining seconds at the pace so far; None before there is a pace."""
        total = self.total()
        if total is None or self.first is None:
            return None
        done, seconds = self.last[0] - self.first[0], self.last[1] - self.first[1]
        if done <= 0 or seconds <= 0:
            return None
        return max(0.0, (total - self.last[0]) * seconds / done - (now - self.last[1]))

    def parts(self, now: float, *, plain: bool = False) -> list[Part]:
        """All parts of the line in order. ``plain``: ASCII only."""
        total, left, record = self.total(), self.left(now), self.record
        line = [Part(self.name, 4, "bold")]
        if total is not None:
            line.append(Part(bar(self.last[0] / total, plain=plain), 8, "cyan"))
        if record.get("event") == "step":
            line += [Part(f"step {record['step']:,}/{record['steps']:,}", 0), Part(f"loss {record['loss']:.3f}", 1)]
            if len(self.losses) > 1 and not plain:
                line.append(Part(sparkline(self.losses), 6, "green"))
            line.append(Part(f"{record['tokens_per_second']:,.0f} tokens/s", 3))
            if self.peak_fraction is not None:
                line.append(Part(f"{self.peak_fraction:.0%} of peak", 5))
        elif record:
            line.append(Part(describe(record), 0))
        if left is not None:
            line.append(Part(f"{clock(left)} left", 2))
        line.append(Part(f"{clock(now - self.began)} so far", 7, "dim"))
        return [part for part in line if part.text]

    def heartbeat(self, now: float) -> str:
        """The figures in one line for a log."""
        left = self.left(now)
        return describe(self.record) + ("" if left is None else f", {clock(left)} left")


@dataclass(frozen=True)
class Part:
    """A part of a line; the larger its ``rank``, the sooner it is dropped."""

    text: str
    rank: int
    style: str = ""


def bar(fraction: float, *, plain: bool = False) -> str:
    """A progress bar."""
    done = round(min(1.0, fraction) * BAR)
    return "#" * done + "-" * (BAR - done) if plain else "━" * done + "╌" * (BAR - done)


def fitting(parts: list[Part], width: int) -> list[Part]:
    """The parts that fit in a line, two spaces between them; the last remaining part is cut."""
    fitted = list(parts)
    while len(fitted) > 1 and sum(len(part.text) + 2 for part in fitted) - 2 > width:
        fitted.remove(max(fitted, key=lambda part: part.rank))
    return [Part(part.text[: max(0, width)], part.rank, part.style) for part in fitted]


class Heartbeat:
    """For logs: a first line after some seconds, then one a minute; notes and evaluations at once."""

    def __init__(self, say: Callable[[str], None], name: str = "") -> None:
        self.tell, self.name = say, name
        self.watched, self.pace = Watched(), Pace()
        self.began = self.last = time.monotonic()
        self.beats = 0
        self.ended = threading.Event()
        self.alone = threading.Lock()  # events come from the run, the clock from a thread

    def __enter__(self) -> Heartbeat:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()

    def _watch(self) -> None:
        """Print a line for a stage that emits nothing for long."""
        while not self.ended.wait(1.0):
            self.beat(time.monotonic())

    def __call__(self, record: dict[str, Any]) -> None:
        event = record["event"]
        self.watched.hear(record)
        if event == "note":
            self.say(record["text"])
        elif event == "evaluation":
            self.say(describe_evaluation(record))
        elif (estimate := self.pace.hear(record)) is not None:
            self.say(estimate)
        elif event in ("step", "progress"):
            self.beat(time.monotonic())

    def say(self, text: str) -> None:
        with self.alone:
            self.last = time.monotonic()
            self.tell(text)

    def beat(self, now: float) -> None:
        """Print the progress, if nothing was printed for long."""
        with self.alone:
            if self.ended.is_set() or now - self.last < min(HEARTBEAT, HEARTBEAT if self.beats else FIRST_BEAT):
                return
            self.last, self.beats = now, self.beats + 1
            text = self.watched.heartbeat(now) if self.watched.record else f"{clock(now - self.began)} so far"
            name = self.watched.name or self.name
            self.tell(text if self.watched.record.get("event") == "step" or not name else f"{name}: {text}")


class LiveLine:
    """For terminals: one line, redrawn eight times a second, and removed at the end. Messages stay above it."""

    def __enter__(self) -> LiveLine:
        from rich.console import Console
        from rich.live import Live

        self.watched, self.pace = Watched(live=True), Pace()
        self.alone = threading.Lock()  # data and the line go to one terminal
        self.ended = threading.Event()
        # Data is written around the display: rich would wrap it, and print it on stderr.
        self.display = Live(
            self, console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False
        )
        self.display.start()
        self.outer = terminal.around_data(self._aside)
        threading.Thread(target=self._redraw, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        terminal.around_data(self.outer)
        with self.alone:
            self.display.stop()

    def _redraw(self) -> None:
        while not self.ended.wait(1 / 8):
            with self.alone:
                if not self.ended.is_set():
                    self.display.refresh()

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Remove the line from the terminal while data is written; the next refresh draws it below the data."""
        from rich.control import Control
        from rich.segment import ControlType

        with self.alone:
            self.display.console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            yield

    def __call__(self, record: dict[str, Any]) -> None:
        self.watched.hear(record)
        if record["event"] in ("note", "evaluation"):
            text: str | None = record["text"] if record["event"] == "note" else describe_evaluation(record)
        else:
            text = self.pace.hear(record)
        if text is not None:
            with self.alone:
                self.display.console.print(visible(text), markup=False, highlight=False)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The current line."""
        from rich.text import Text

        now, plain = time.monotonic(), options.ascii_only
        wheel = "|/-\\" if plain else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        line = Text(no_wrap=True, overflow="crop", end="")
        line.append(wheel[int(now * 8) % len(wheel)], "green")
        for part in fitting(self.watched.parts(now, plain=plain), options.max_width - 3):
            line.append("  ").append(visible(part.text), part.style)
        yield line
