"""An estimate of the time and memory of a training run, printed once after its first steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

SECONDS = 2.0  # of training before the estimate


def duration(seconds: float) -> str:
    """3700 -> '1 h 2 min'."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


class Pace:
    """Estimates from events the remaining time, at the pace of the first steps (or words), and the memory."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None
        self.said = False

    def hear(self, record: Mapping[str, Any]) -> str | None:
        """The estimate, once per stage; None otherwise."""
        event = record["event"]
        if event == "stage":
            self.first, self.said = None, False
        if self.said or event not in ("pace", "progress"):
            return None
        done, total = (record["step"], record["steps"]) if event == "pace" else (record["done"], record.get("total"))
        if not total or (event == "progress" and not str(record["label"]).startswith("epoch")):
            return None
        now = time.monotonic()
        if self.first is None or done < self.first[0]:
            self.first = (done, now)
            return None
        count, took = done - self.first[0], now - self.first[1]
        if count <= 0 or took < SECONDS:
            return None
        self.said = True
        unit = "steps" if event == "pace" else str(record.get("unit", ""))
        left = duration((total - done) * took / count)
        return f"about {left} for {total - done:,} {unit} more, at the pace of the first {count:,}; {memory()}"


def memory() -> str:
    """The peak memory of this process."""
    from nlpkit.machine import heap

    return f"{heap.most_held() / 1e9:.2f} GB of memory so far"
