"""Whether a run learns anything, said once while it trains and at its end: beside guessing by frequencies, a classifier
beside a bag of words too, which is a matter of a second, and with what to try where that is better.

Each line is a note; a comparison has its numbers as fields, so that a log and a report have them. They change no byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.world import world
from nlpkit.data.labelled import Examples
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.stages.advice import Guess, Ran, Seen, suggestions, what_leaves

Classes = NDArray[np.int64]
Labelled = tuple[Examples, Classes]  # n examples and the number of each one's class, [n]

SAMPLE = 10_000_000  # tokens that are counted
POOR = 0.1  # of the loss of guessing: a language model whose loss is lower by less is told what to try
EARLY, EARLIEST = 0.2, 20  # of the updates, and updates: when a loss should have left that of guessing


@contextmanager
def watching(ran: Ran, guess: Guess | None) -> Iterator[Seen]:
    """Collect the losses and evaluations of the block; say once, when a fifth of the updates are made, that the loss
    is still that of guessing and no longer falls."""
    seen = Seen()
    said = False

    def hear(record: dict[str, Any]) -> None:
        nonlocal said
        seen(record)
        if said or guess is None or record["event"] != "step":
            return
        step, loss = record["step"], record["losses"].get(guess.term, 0.0)
        if max(EARLY * seen.steps, EARLIEST) <= step < seen.steps and not guess.left(loss) and not seen.falls:
            said = True
            text = f"after {step:,} of {seen.steps:,} updates the loss, {loss:.3f}, has not left that of guessing, "
            text += f"{guess.loss:.3f}; if it stays there, try {what_leaves(ran, seen, guess)}"
            events.emit("note", text=text, step=step, loss=loss, guess=guess.loss, term=guess.term)

    with events.listen(hear):
        yield seen


def guess_labels(classes: Classes | None, term: str = "classify") -> Guess | None:
    """The loss of guessing labels; None where there are none."""
    if classes is None:
        return None
    return Guess(term, entropy(np.bincount(classes)), "the labels' frequencies")


def guess_pieces(files: TokenFiles, term: str) -> Guess:
    """The loss of guessing every piece by its frequency in the text."""
    tokens = files.tokens(0, min(SAMPLE, files.n_tokens))
    return Guess(term, entropy(np.bincount(tokens)), "the pieces' frequencies")


def entropy(counts: Classes) -> float:
    """The mean loss of guessing by frequencies, in nats."""
    frequencies = counts[counts > 0] / counts.sum()
    return float(-(frequencies * np.log(frequencies)).sum())


def say_classifier(seen: Seen, ran: Ran, guess: Guess | None, train: Labelled | None, dev: Labelled | None) -> None:
    """How a classifier compares with the most frequent label and with a bag of words on ``dev``, or without one (or
    without labels to train on) by the loss."""
    if train is None or dev is None or "accuracy" not in seen.best:
        say_loss(seen, ran, guess)
        return
    if not world().leads:
        return
    from nlpkit.evaluation import baselines

    (examples, classes), (held, truth) = train, dev
    majority = float((baselines.majority(classes, len(truth)) == truth).mean())
    bag = float((baselines.bag_of_words(examples.words, classes, held.words) == truth).mean())
    accuracy = seen.best["accuracy"]
    text = f"dev accuracy {accuracy:.3f}; a bag of words gets {bag:.3f}, the most frequent label {majority:.3f}"
    nothing = accuracy < majority + 2 * sqrt(majority * (1 - majority) / len(truth))  # two standard errors
    findings = ["nothing was learnt"] if nothing else ["counting words is better"] if accuracy < bag else []
    tried = suggestions(ran, seen, guess) if findings or seen.rose else []
    numbers: dict[str, Any] = {"accuracy": accuracy, "bag_of_words": bag, "majority": majority}
    numbers |= {} if guess is None else {"guess": guess.loss, "term": guess.term}
    events.emit("note", text=_joined(text, findings + tried), **numbers)


def say_loss(seen: Seen, ran: Ran, guess: Guess | None) -> None:
    """How the last loss compares with that of guessing; nothing where no updates were made."""
    loss = None if guess is None else seen.losses.get(guess.term)
    if guess is None or loss is None:
        if seen.rose:
            events.note("; ".join(suggestions(ran, seen, None)))
        return
    text = f"last loss {loss:.3f}; guessing by {guess.by} gives {guess.loss:.3f}"
    tried = suggestions(ran, seen, guess) if seen.rose or loss > guess.loss * (1 - POOR) else []
    events.emit("note", text=_joined(text, tried), loss=loss, guess=guess.loss, term=guess.term)


def _joined(text: str, findings: list[str]) -> str:
    return f"{text}: {'; '.join(findings)}" if findings else text
