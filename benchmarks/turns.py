"""Two sides that work in turn in one process, and what a slice of each costs.

The one side runs in the main thread, the other in a second one; one of them works while the other waits, so that the
processor time of the process is that of whoever works. Between two slices the machine's own speed is measured.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpkit.training.planning.estimate import matrix_speed


@dataclass(frozen=True)
class Slice:
    """``tokens`` in ``seconds`` of processor time, and the operations a second of a product just after."""

    tokens: int
    seconds: float
    peak: float


class Turns:
    """Both sides' slices. A side calls `begin` once, and `end` after each slice; the first side has the first turn."""

    def __init__(self, sides: Sequence[str]) -> None:
        self.sides = tuple(sides)
        self.slices: dict[str, list[Slice]] = {side: [] for side in sides}
        self.ready = {side: threading.Semaphore(0) for side in sides}
        self.ready[self.sides[0]].release()
        self.failed: BaseException | None = None
        self.began = 0.0

    def begin(self, side: str) -> None:
        """Wait for the turn."""
        self.ready[side].acquire()
        if self.failed is not None:
            raise RuntimeError("the other side failed") from self.failed
        gc.collect()
        self.began = time.process_time()

    def end(self, side: str, tokens: int, last: bool) -> None:
        """A slice is done: let the other side work, and wait for the next turn unless it was the last."""
        seconds = time.process_time() - self.began
        self.slices[side].append(Slice(tokens, seconds, matrix_speed(clock=time.process_time)))
        for other in self.sides:
            if other != side:
                self.ready[other].release()
        if not last:
            self.begin(side)

    @contextmanager
    def beside(self, work: Callable[[], list[Any]]) -> Iterator[list[Any]]:
        """Run ``work`` in a second thread while the block runs; what it returns is in the list after the block."""
        found: list[Any] = []

        def run() -> None:
            try:
                found.extend(work())
            except BaseException as error:  # noqa: BLE001 - it is raised by the side that waits
                self.failed = error
                for lock in self.ready.values():
                    lock.release()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield found
        thread.join()
        if self.failed is not None:
            raise self.failed


class Memory(Turns):
    """One side alone: how much memory its process takes."""

    def begin(self, side: str) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is there
        self.before = _status("VmRSS")

    def end(self, side: str, tokens: int, last: bool) -> None:
        self.peak = _status("VmHWM")

    def found(self) -> dict[str, float]:
        return {"peak_mb": self.peak, "training_mb": self.peak - self.before}


def _status(name: str) -> float:
    """A number of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
