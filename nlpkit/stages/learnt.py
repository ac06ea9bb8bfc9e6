"""Whether a run has learnt anything, said at its end: that its loss rose, and how it compares with guessing by
frequencies, a classifier with a bag of words too, which is a matter of a second.

Each line is a note; a comparison has its numbers as fields, so that a log has them. They change no byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.world import world
from nlpkit.data.labelled import Examples
from nlpkit.data.tokenfile import TokenFiles

Classes = NDArray[np.int64]
Labelled = tuple[Examples, Classes]  # n examples and the number of each one's class, [n]

SAMPLE = 10_000_000  # tokens that are counted
LITTLE = 0.02  # of the loss of guessing: what is as good as nothing


@dataclass
class Seen:
    """What the training in `watching` reported: its first and last loss, the last losses by name, and the metrics of
    the best evaluation. Of a resumed run the first loss is unknown."""

    first: float | None = None
    last: float | None = None
    resumed: bool = False
    losses: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)

    @property
    def rose(self) -> bool:
        return self.first is not None and self.last is not None and self.last > self.first

    def __call__(self, record: dict[str, Any]) -> None:
        if record["event"] == "training":
            self.first, self.resumed = None, record["step"] > 0
        elif record["event"] == "step":
            if self.first is None and not self.resumed:
                self.first = record["loss"]
            self.last, self.losses = record["loss"], record["losses"]
        elif record["event"] == "evaluation" and record["best"]:
            self.best = record["metrics"]


@contextmanager
def watching() -> Iterator[Seen]:
    """Collect the losses and evaluations of the block, and say when the loss rose."""
    seen = Seen()
    with events.listen(seen):
        yield seen
    if seen.rose:
        events.note(f"the loss rose from {seen.first:.4g} to {seen.last:.4g}: a lower --lr usually helps")


def say_classifier(seen: Seen, train: Labelled, dev: Labelled | None) -> None:
    """How a classifier compares with the most frequent label and with a bag of words on ``dev``, or without one by
    the loss."""
    examples, classes = train
    if dev is None:
        if "classify" in seen.losses:
            _say_loss(seen.losses["classify"], entropy(np.bincount(classes)), "the labels' frequencies")
        return
    if "accuracy" not in seen.best or not world().leads:
        return
    from nlpkit.evaluation import baselines

    held, truth = dev
    majority = float((baselines.majority(classes, len(truth)) == truth).mean())
    bag = float((baselines.bag_of_words(examples.words, classes, held.words) == truth).mean())
    accuracy = seen.best["accuracy"]
    text = f"dev accuracy {accuracy:.3f}; a bag of words gets {bag:.3f}, the most frequent label {majority:.3f}"
    if accuracy < majority + 2 * sqrt(majority * (1 - majority) / len(truth)):  # two standard errors
        text += ": nothing was learnt; try a larger --lr or more --epochs"
    elif accuracy < bag:
        text += ": counting words is better; more text in pretrain, more --epochs, or another --lr may help"
    events.emit("note", text=text, accuracy=accuracy, bag_of_words=bag, majority=majority)


def say_language_model(seen: Seen, files: TokenFiles) -> None:
    """How the last loss compares with that of guessing every piece by its frequency in the text."""
    loss = next((seen.losses[name] for name in ("mlm", "clm") if name in seen.losses), None)
    if loss is not None:
        tokens = files.tokens(0, min(SAMPLE, files.n_tokens))
        _say_loss(loss, entropy(np.bincount(tokens)), "the pieces' frequencies")


def entropy(counts: Classes) -> float:
    """The mean loss of guessing by frequencies, in nats."""
    frequencies = counts[counts > 0] / counts.sum()
    return float(-(frequencies * np.log(frequencies)).sum())


def _say_loss(loss: float, guess: float, by: str) -> None:
    text = f"last loss {loss:.3f}; guessing by {by} gives {guess:.3f}"
    if loss > guess * (1 - LITTLE):
        text += ": hardly anything was learnt; try a larger --lr or more --epochs"
    events.emit("note", text=text, loss=loss, guess=guess)
