"""Language models measured on text: what they lose on each piece, with intervals, beside word frequencies.

A masked model answers masks that are a function of the seed (the ones its training measures itself by), so that two
models, or one model twice, answer the same. A causal model predicts every token of the text once: windows of
``max_len`` tokens follow each other ``stride`` apart, and each scores the tokens that no window before it scored.
With ``stride`` equal to ``max_len`` windows do not overlap, and a window's first tokens have little context, which
overestimates the loss; a smaller stride costs time and gives each token at least ``max_len - stride`` of it. Documents
are separated by the end-of-text token, which also stands before the first; it is context and is not scored.

Shapes: n sequences or windows, N tokens of a batch, M answers, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import RunError
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.framing import Framing
from nlpkit.data.order import Epochs, in_order
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.packing import Packing
from nlpkit.measure import intervals
from nlpkit.measure.intervals import Interval
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One batch of a measurement: what the model reads, where it answers and what is right, [M]; ``examples`` [B] are
    the numbers of its sequences, ``owner`` [M] says whose answer each is."""

    batch: Batch
    positions: Ids
    labels: Ids
    examples: Ids
    owner: Ids


class Exam(Protocol):
    """The questions put to a model: the same to every model."""

    @property
    def head(self) -> str: ...
    @property
    def n(self) -> int: ...
    def questions(self, batch_tokens: int) -> Iterator[Asked]: ...


@dataclass(frozen=True)
class Masked:
    """Fixed masks over every sequence of ``data``."""

    data: Epochs
    objective: Objective
    seed: int

    head = "mlm"

    @property
    def n(self) -> int:
        return len(self.data.lengths)

    def questions(self, batch_tokens: int) -> Iterator[Asked]:
        rng = Address(self.seed, ("objective", 0))
        for examples in in_order(self.data.lengths, batch_tokens):
            batch, target = self.objective.corrupt(self.data.make(examples, 0), rng)
            positions = target.fields["positions"].numpy()
            owner = batch.packing.sequence.numpy()[positions]
            # Pairs come in an order of their own.
            yield Asked(batch, positions, target.fields["labels"].numpy(), batch.examples.numpy(), owner)


@dataclass(frozen=True)
class EveryToken:
    """Every token of a text, from those before it in its window."""

    files: TokenFiles
    framing: Framing
    max_len: int
    stride: int

    head = "clm"

    @property
    def total(self) -> int:
        """Tokens of the stream: an end-of-text token, then each document and one after it."""
        return 1 + self.files.n_tokens + self.files.n_documents

    @property
    def n(self) -> int:
        """Windows; the stream's last token, an end of text, is in none."""
        return 1 + max(0, -(-(self.total - 2 - self.max_len) // self.stride))

    def questions(self, batch_tokens: int) -> Iterator[Asked]:
        documents = np.concatenate([[0], self.files.document_token_ends])
        ends = documents[1:] + np.arange(1, len(documents))  # places of the separators after each document
        at_once = max(1, batch_tokens // self.max_len)
        for first in range(0, self.n, at_once):
            windows = np.arange(first, min(self.n, first + at_once))
            starts = windows * self.stride
            lengths = np.minimum(self.max_len, self.total - 2 - starts)
            owner = np.repeat(np.arange(len(windows)), lengths)
            offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            place = starts[owner] + offset
            tokens, _ = self._take(place, ends)
            following, text = self._take(place + 1, ends)
            new = (windows[owner] == 0) | (offset >= self.max_len - self.stride)
            chosen = np.flatnonzero(new & text)
            batch = Batch(
                tokens=torch.from_numpy(tokens),
                packing=Packing.of(lengths.tolist()),
                examples=torch.from_numpy(windows),
                special=torch.zeros(len(tokens), dtype=torch.bool),
            )
            yield Asked(batch, chosen, following[chosen], windows, owner[chosen])

    def _take(self, place: Ids, ends: Ids) -> tuple[Ids, NDArray[np.bool_]]:
        """Ids at places of the stream, and which of them are text."""
        document = np.searchsorted(ends, place)
        text = (place > 0) & (ends[np.minimum(document, len(ends) - 1)] != place)
        index = np.where(text, place - 1 - document, 0)
        return np.where(text, self.files.take(index), self.framing.last), text


@dataclass(frozen=True)
class Answers:
    """Of each sequence: the sum of its answers' losses, how many were right, how many there were, [n] each; ``head`` is
    the objective that asked."""

    head: str
    losses: Floats
    right: Floats
    counts: Floats

    def measure(self, seed: int, resamples: int, n_bytes: int | None) -> dict[str, Interval]:
        """loss (nats a token), perplexity, mlm_accuracy or clm_accuracy (the fraction of the tokens that the model held
        for the most likely) and, of every token of a text of known size, bits_per_byte."""
        drawn: dict[str, Any] = {"seed": seed, "resamples": resamples}
        loss = intervals.ratio(self.losses, self.counts, **drawn)
        found = {
            "loss": loss,
            "perplexity": intervals.ratio(self.losses, self.counts, then=np.exp, **drawn),
            f"{self.head}_accuracy": intervals.ratio(self.right, self.counts, **drawn),
        }
        if n_bytes:
            scale = float(self.counts.sum()) / n_bytes / math.log(2)
            found["bits_per_byte"] = Interval(loss.value * scale, loss.low * scale, loss.high * scale)
        return found

    def minus(self, other: Answers, seed: int, resamples: int) -> dict[str, Interval]:
        """The differences to another model's answers to the same questions, on the same draws."""
        drawn: dict[str, Any] = {"seed": seed, "resamples": resamples}
        return {
            "loss": intervals.ratio(self.losses - other.losses, self.counts, **drawn),
            f"{self.head}_accuracy": intervals.ratio(self.right - other.right, self.counts, **drawn),
        }


Guess = Callable[[Asked], tuple[Floats, NDArray[np.bool_]]]


def take_exam(exam: Exam, guess: Guess, *, batch_tokens: int, label: str = "") -> Answers:
    """Put every question; ``guess`` gives each answer's loss and whether it was right, [M]."""
    sums = np.zeros((3, exam.n))
    done = 0
    for asked in exam.questions(batch_tokens):
        losses, right = guess(asked)
        for row, values in zip(sums, (losses, right, np.ones(len(losses))), strict=True):
            row[asked.examples] = np.bincount(asked.owner, weights=values, minlength=len(asked.examples))
        done += len(asked.examples)
        if label:
            events.emit("progress", label=label, done=done, total=exam.n, unit="sequences")
    return Answers(exam.head, *sums)


def by_model(model: Model, head: str, device: str) -> Guess:
    """The model's answers."""
    model.to(device).eval()
    vocabulary = cast(VocabularyHead, model.heads[head])

    def guess(asked: Asked) -> tuple[Floats, NDArray[np.bool_]]:
        with torch.inference_mode():
            positions = torch.from_numpy(asked.positions)
            output = model(asked.batch.to(device), wanted=Wanted(positions))
            found, right = vocabulary.token_losses(output.at(positions), torch.from_numpy(asked.labels).to(device))
        losses = found.double().cpu().numpy()
        if not np.isfinite(losses).all():
            raise RunError("the model's losses are not numbers", hint="its weights are damaged, or training diverged")
        return losses, right.cpu().numpy()

    return guess


def by_frequency(files: TokenFiles, vocab_size: int) -> Guess:
    """Answers without context: each token's share of ``files``, one added to every count (Laplace)."""
    counts = np.ones(vocab_size)
    for start in range(0, files.n_tokens, 1 << 22):
        counts += np.bincount(files.tokens(start, min(files.n_tokens, start + (1 << 22))), minlength=vocab_size)
    losses = -np.log(counts / counts.sum())
    best = int(counts.argmax())

    def guess(asked: Asked) -> tuple[Floats, NDArray[np.bool_]]:
        return losses[asked.labels], asked.labels == best

    return guess
