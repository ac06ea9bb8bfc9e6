"""Whether a run has learnt anything, in one line at its end: beside guessing by frequencies, and for a classifier
beside a bag of words, which is a matter of a second.

The line is a note, with its numbers as fields, so that a log has them. It changes no byte.
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
    """The last reported losses by name, and the metrics of the best evaluation, of the training in `watching`."""

    losses: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)

    def __call__(self, record: dict[str, Any]) -> None:
        if record["event"] == "step":
            self.losses = record["losses"]
        elif record["event"] == "evaluation" and record["best"]:
            self.best = record["metrics"]


@contextmanager
def watching() -> Iterator[Seen]:
    """Collect the losses and evaluations of the block."""
    seen = Seen()
    with events.listen(seen):
        yield seen


def say_classifier(seen: Seen, train: Labelled, dev: Labelled | None) -> None:
    """How a classifier compares with the most frequent label and with a bag of words on ``dev``, or without one by
    the loss."""
    examples, classes = train
    if dev is None:
        _say_loss(seen.losses.get("classify"), entropy(np.bincount(classes)), "the labels' frequencies")
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
    tokens = files.tokens(0, min(SAMPLE, files.n_tokens))
    loss = next((seen.losses[name] for name in ("mlm", "clm") if name in seen.losses), None)
    _say_loss(loss, entropy(np.bincount(tokens)), "the pieces' frequencies")


def entropy(counts: Classes) -> float:
    """The mean loss of guessing by frequencies, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _say_loss(loss: float | None, guess: float, by: str) -> None:
    if loss is None or not world().leads:
        return
    text = f"last loss {loss:.3f}; guessing by {by} gives {guess:.3f}"
    if loss > guess * (1 - LITTLE):
        text += ": hardly anything was learnt; try a larger --lr or more --epochs"
    events.emit("note", text=text, loss=loss, guess=guess)
