"""A ``--log`` file read back: its runs and their curves.

A run that was killed and resumed repeats the steps after its last save. They are the same steps
(docs/reproducibility.md), so the last report of each step counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nlpkit.base import events
from nlpkit.base.errors import UserError

Points = list[tuple[int, float]]  # (step, value), steps rising
HUGE = 1e300  # a larger value is no measurement and counts as not finite
OF_A_STEP = {
    "loss": "loss",
    "lr": "learning rate",
    "gradient_norm": "gradient norm",
    "tokens_per_second": "tokens per second",
}


@dataclass
class Logged:
    """One run as its log tells it. ``training`` is the recorded request (None in logs of a stage that does not train,
    and of early versions of nlpkit); ``done`` names the result (None: the run has not ended)."""

    training: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    steps: int | None = None
    unit: str = "step"
    terms: list[str] = field(default_factory=list)  # of the loss
    curves: dict[str, Points] = field(default_factory=dict)  # by quantity; terms, where there are several: "loss: term"
    dev: dict[str, Points] = field(default_factory=dict)  # by metric
    bests: list[int] = field(default_factory=list)  # steps of evaluations that were the best until then
    chosen_by: str | None = None  # the metric that decides which is the best
    tokens: Points = field(default_factory=list)  # in all, after a step
    seconds: Points = field(default_factory=list)
    verdict: str | None = None  # the last line on what was learnt
    levels: dict[str, dict[str, float]] = field(default_factory=dict)  # by term or metric: what guessing gets, by name
    gone: int = 0  # values that were not finite numbers
    resumed: bool = False  # nothing was reported since

    def resume(self, step: int) -> None:
        """Forget what came after a step."""
        for points in (*self.curves.values(), *self.dev.values(), self.tokens, self.seconds):
            while points and points[-1][0] > step:
                points.pop()
        self.bests = [best for best in self.bests if best <= step]

    def add(self, name: str, step: int, value: Any, *, dev: bool = False) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return
        if not abs(value) < HUGE:
            self.gone += 1
            return
        points = (self.dev if dev else self.curves).setdefault(name, [])
        if not points or points[-1][0] < step:
            points.append((step, float(value)))

    def spend(self, step: int, tokens: Any, speed: Any) -> None:
        """Add tokens and time since the last report. The first report after a resume counts fewer steps than lie
        between, so it is extrapolated from the run so far."""
        if not (_positive(tokens) and _positive(speed)):
            return
        before = self.tokens[-1] if self.tokens else (0, 0.0)
        if step <= before[0]:
            return
        least = before[1] / before[0] * (step - before[0]) if before[0] else 0.0
        counted = max(float(tokens), least) if self.resumed else float(tokens)
        self.resumed = False
        self.tokens.append((step, before[1] + counted))
        self.seconds.append((step, (self.seconds[-1][1] if self.seconds else 0.0) + counted / float(speed)))


def read(text: str, where: str) -> list[Logged]:
    """The runs of a log, in order. Errors: UserError with the line that is not an event. A last line without its end,
    which a kill leaves, is left out with a note."""
    runs: list[Logged] = []
    for record in _records(text, where):
        _enter(runs, record)
    if not runs:
        raise UserError("has no run", where=where, hint="--log FILE.jsonl of a command writes one")
    return runs


def _records(text: str, where: str) -> Iterator[dict[str, Any]]:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):  # no line end after it
                events.note(f"{where}: the last line is not whole and was left out")
                return
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("event"), str):
            raise UserError("is not an event", where=f"{where}:{number}", hint="a log has one JSON object a line")
        yield record


def _enter(runs: list[Logged], record: Mapping[str, Any]) -> None:
    """One event; events that are not about a run are left out."""
    event, step = record["event"], record.get("step")
    current = runs[-1] if runs and runs[-1].done is None else None
    if event == "training":
        training = {name: value for name, value in record.items() if name not in ("event", "step")}
        if current is None or current.training != training:
            current = Logged(training=training, steps=_whole(record.get("steps")))
            runs.append(current)
        current.resume(_whole(step) or 0)
        current.resumed = bool(step)
    elif event == "done":
        if current is None:
            current = Logged()
            runs.append(current)
        current.done = dict(record)
    elif event == "note" and "loss" in record and "epoch" in record:  # word vectors are trained in epochs
        current = current or _begin(runs)
        current.unit = "epoch"
        epoch = _whole(record["epoch"]) or 0
        current.add("loss", epoch, record["loss"])
        if _positive(record.get("words")) and epoch > (current.tokens[-1][0] if current.tokens else 0):
            current.tokens.append((epoch, float(record["words"])))
    elif event == "note" and current is not None:
        _compared(current, record)
    elif event in ("step", "evaluation") and _whole(step) is not None:
        current = current or _begin(runs)
        _measured(current, record, int(record["step"]))


def _compared(run: Logged, record: Mapping[str, Any]) -> None:
    """A note that compares what was learnt with guessing (`nlpkit.stages.learnt`); other notes are left out."""
    term, text = record.get("term"), record.get("text")
    levels = {"accuracy": {"a bag of words": "bag_of_words", "the most frequent label": "majority"}}
    if isinstance(term, str):
        levels[f"loss: {term}"] = {"guessing": "guess"}
    known = {
        quantity: {name: float(record[key]) for name, key in keys.items() if _finite(record.get(key))}
        for quantity, keys in levels.items()
    }
    known = {quantity: values for quantity, values in known.items() if values}
    run.levels |= known
    if known and isinstance(text, str):
        run.verdict = text


def _begin(runs: list[Logged]) -> Logged:
    runs.append(Logged())
    return runs[-1]


def _measured(run: Logged, record: Mapping[str, Any], step: int) -> None:
    """A training step or an evaluation."""
    if record["event"] == "evaluation":
        for name, value in _mapping(record.get("metrics")).items():
            run.add(name, step, value, dev=True)
        if record.get("best") is True:
            run.bests.append(step)
        score = record.get("score")
        names = [name for name, value in _mapping(record.get("metrics")).items() if _same_size(value, score)]
        run.chosen_by = names[0] if len(names) == 1 else run.chosen_by
        return
    if run.training is None and run.curves.get("loss") and step <= run.curves["loss"][-1][0]:
        run.resume(step - 1)  # a log that does not say where a run resumed
    run.steps = _whole(record.get("steps")) or run.steps
    for name in OF_A_STEP:
        run.add(name, step, record.get(name))
    terms = _mapping(record.get("losses"))
    run.terms = sorted({*run.terms, *terms})
    for name, value in terms.items():
        if len(terms) > 1:
            run.add(f"loss: {name}", step, value)
    run.spend(step, record.get("tokens"), record.get("tokens_per_second"))


def _same_size(value: Any, score: Any) -> bool:
    """Whether a score is this value, or of a loss, which is better when it is lower, its negative."""
    return isinstance(value, float) and isinstance(score, float) and value in (score, -score)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < HUGE


def _positive(value: Any) -> bool:
    return _finite(value) and value > 0
