"""What to try where a run learnt too little: from what was seen of its loss and evaluations, and from its options.

Each suggestion is a finding and the option that answers it; one whose finding was not made is not said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nlpkit.artifact.provenance import Run
from nlpkit.stages import defaults

LITTLE = 0.02  # of the loss of guessing: a loss that is lower by less has hardly left it
FALLS = 0.01  # of the loss: what it loses at least from one time to another where it still falls
OTHER = 2.0  # times the default rate, or a part of it: another rate, which the default may do better than
CUT = 0.2  # of the tokens: so many left out may hold what is to be learnt
FEW_UPDATES = 1000  # of a pre-training that has hardly begun
MOST = 2  # suggestions in one line


@dataclass(frozen=True)
class Guess:
    """The loss of guessing by frequencies (``by`` says whose), and the term of the loss that it is compared with."""

    term: str
    loss: float
    by: str

    def left(self, loss: float) -> bool:
        """Whether a loss is clearly below it."""
        return loss <= self.loss * (1 - LITTLE)


@dataclass
class Seen:
    """What the training reported: its losses and its evaluations, of which ``best`` has the metrics of the best. Of a
    resumed run the first loss is unknown."""

    resumed: bool = False
    steps: int = 0
    reports: list[tuple[dict[str, float], float]] = field(default_factory=list)  # losses by name, their sum
    evaluations: list[int] = field(default_factory=list)  # steps
    best: dict[str, float] = field(default_factory=dict)
    best_step: int | None = None

    @property
    def losses(self) -> dict[str, float]:
        """The last ones by name."""
        return self.reports[-1][0] if self.reports else {}

    @property
    def first(self) -> float | None:
        return self.reports[0][1] if self.reports and not self.resumed else None

    @property
    def last(self) -> float | None:
        return self.reports[-1][1] if self.reports else None

    @property
    def rose(self) -> bool:
        return self.first is not None and self.last is not None and self.last > self.first

    @property
    def falls(self) -> bool:
        """Whether the loss still falls: by the last quarter of the reports, two at least, since single ones are noisy;
        True where there are too few to say."""
        size = max(2, len(self.reports) // 4)
        return len(self.reports) < 2 * size or self._fell(size)

    @property
    def rising(self) -> bool:
        """Whether it was still getting better at the end: the last of several evaluations is the best, or, without
        evaluations, the loss of the last quarter of the reports is below that of the quarter before."""
        if self.evaluations:
            return len(self.evaluations) > 1 and self.best_step == self.evaluations[-1]
        size = len(self.reports) // 4
        return size > 0 and self._fell(size)

    def _fell(self, size: int) -> bool:
        """Whether the mean loss of the last ``size`` reports is below that of as many before them."""
        return self._mean(size) < self._mean(2 * size, size) * (1 - FALLS)

    def _mean(self, size: int, before: int = 0) -> float:
        """The mean loss of the last ``size`` reports but for the last ``before``."""
        losses = [loss for _, loss in self.reports[len(self.reports) - size : len(self.reports) - before]]
        return sum(losses) / len(losses)

    def lowest(self, term: str) -> float:
        """The lowest reported loss of a term."""
        return min((losses[term] for losses, _ in self.reports if term in losses), default=math.inf)

    def __call__(self, record: dict[str, Any]) -> None:
        if record["event"] == "training":
            self.reports, self.resumed, self.steps = [], record["step"] > 0, record.get("steps", 0)
        elif record["event"] == "step":
            self.reports.append((record["losses"], record["loss"]))
        elif record["event"] == "evaluation":
            self.evaluations.append(record["step"])
            if record["best"]:
                self.best, self.best_step = record["metrics"], record["step"]


@dataclass(frozen=True)
class Ran:
    """The facts of a run that a suggestion depends on: its rate, and that of the rule; its budget, the option
    ("epochs" or "steps") and its value; the fraction of the tokens that was cut, and the positions of its model where
    these are more than ``max_len``. Of a classifier its pooling and that which reads what was trained, and of the model
    it began from whether it was trained, and the options and updates of its pre-training where these are recorded. Of a
    model that is new, how its embeddings began, and how the rule begins them."""

    lr: float
    usual_lr: float
    budget: tuple[str, int]
    cut: float = 0.0
    positions: int | None = None
    pooling: str | None = None
    usual_pooling: str | None = None
    trained: bool = True
    before: Mapping[str, Any] = field(default_factory=dict)
    updates_before: int = 0
    embeddings: str | None = None
    usual_embeddings: str | None = None

    @staticmethod
    def of(run: Run, facts: defaults.Facts, options: Mapping[str, Any], **more: Any) -> Ran:
        """Of a run with these options; how a model that it began from was pre-trained is read from that file's
        record."""
        rule = defaults.RULES[run.command](facts)
        records = [item.history.get(item.sha256, {}) for item in run.inputs if item.role == "model"]
        return Ran(
            lr=options["lr"],
            usual_lr=rule["lr"],
            budget=("epochs", options["epochs"] or 1) if options["steps"] is None else ("steps", options["steps"]),
            pooling=options.get("pooling"),
            before=next((record["options"] for record in records if record.get("command") == "pretrain"), {}),
            embeddings=options.get("embeddings"),
            usual_embeddings=rule.get("embeddings"),
            **more,
        )

    def longer(self, factor: float) -> str:
        """The option that makes so many times the updates."""
        name, value = self.budget
        return f"--{name} {math.ceil(value * factor)}"


def suggestions(ran: Ran, seen: Seen, guess: Guess | None) -> list[str]:
    """The first findings that were made, each with what to try."""
    return [f"{finding}: try {option}" for finding, option in _findings(ran, seen, guess)][:MOST]


def _findings(ran: Ran, seen: Seen, guess: Guess | None) -> Iterator[tuple[str, str]]:
    stuck = guess is not None and not guess.left(seen.losses.get(guess.term, 0.0))
    if seen.rose:
        yield f"the loss rose from {seen.first:.4g} to {seen.last:.4g}", _rate(min(ran.lr / 3, ran.usual_lr))
    elif guess is not None and stuck:
        yield "the loss hardly left that of guessing", what_leaves(ran, seen, guess)
    if not ran.trained:
        yield "the model it began from was never trained", "nlpkit pretrain first"
    if ran.pooling in ("pooler", "cls") and ran.usual_pooling == "mean":
        yield f"no objective trained what pooling {ran.pooling} reads", "--pooling mean"
    if not stuck and (seen.rising or 0 < seen.steps < defaults.UPDATES):
        few = f"it made {seen.steps:,} updates"
        yield "it was still getting better at the end" if seen.rising else few, _more_updates(ran, seen)
    if seen.evaluations and seen.best_step is not None and 2 * seen.best_step <= seen.evaluations[-1] and not stuck:
        when = f"step {seen.best_step:,} of {seen.evaluations[-1]:,}"
        yield f"the best evaluation was at {when}, those after it were no better", _rate(ran.lr / 3)
    if ran.cut >= CUT:
        longer = (
            f"--max-len {ran.positions}" if ran.positions else "a model that was pre-trained with a larger --max-len"
        )
        yield f"{ran.cut:.0%} of the tokens were cut", longer
    if ran.embeddings == "random" and ran.usual_embeddings == "word2vec":
        yield "its embeddings began random", "--embeddings word2vec"
    if ran.before.get("embeddings") == "random":
        yield "the embeddings of its pre-training began random", "pretrain --embeddings word2vec"
    if ran.before and 0 < ran.updates_before < FEW_UPDATES:
        yield f"it was pre-trained for {ran.updates_before:,} updates", "more --epochs of pretrain"


def what_leaves(ran: Ran, seen: Seen, guess: Guess) -> str:
    """What may move a loss that stays at that of guessing: the usual rate where it was another, a smaller one where
    the loss had been lower; more updates where there were few or they still helped; else a larger rate."""
    if not ran.usual_lr / OTHER < ran.lr < ran.usual_lr * OTHER:
        return _rate(ran.usual_lr)
    if guess.left(seen.lowest(guess.term)):
        return _rate(ran.lr / 3)
    return _more_updates(ran, seen) if seen.steps < defaults.UPDATES or seen.rising else _rate(ran.lr * 3)


def _more_updates(ran: Ran, seen: Seen) -> str:
    return ran.longer(max(2, defaults.UPDATES / max(1, seen.steps)))


def _rate(value: float) -> str:
    return f"--lr {value:.2g}"
