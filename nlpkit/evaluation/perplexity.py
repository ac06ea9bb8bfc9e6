"""Losses of language models on text, with intervals, and of a unigram baseline.

A masked model predicts tokens under masks that are a function of the seed (the masks of the evaluations in training),
so that two models predict the same tokens. A causal model predicts every token of the text once, in windows of
``max_len`` tokens that begin ``stride`` apart; each window scores the tokens that no window before it scored:

    stream     E a a a a E b b b b E       E: end of text, which is context and is not scored
    window 0   [. . . . . .]               max_len 6, stride 3
    window 1         [c c c . . .]         c: context only

With ``stride`` equal to ``max_len`` windows do not overlap, and a window's first tokens have little context, which
overestimates the loss; a smaller stride costs time and gives each token at least ``max_len - stride`` of it.

Shapes: n sequences or windows, N tokens of a batch, M predictions, V vocabulary.
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
class TestBatch:
    """One batch of a test set: the input, and the positions and labels [M] of the predicted tokens; ``examples`` [B]
    are the numbers of its sequences, ``sequence`` [M] is the index in the batch of each prediction's sequence."""

    batch: Batch
    positions: Ids
    labels: Ids
    examples: Ids
    sequence: Ids


class TestSet(Protocol):
    """The tokens to predict, the same for every model."""

    @property
    def head(self) -> str: ...
    @property
    def n(self) -> int: ...
    def batches(self, batch_tokens: int) -> Iterator[TestBatch]: ...


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

    def batches(self, batch_tokens: int) -> Iterator[TestBatch]:
        rng = Address(self.seed, ("objective", 0))
        for examples in in_order(self.data.lengths, batch_tokens):
            batch, target = self.objective.corrupt(self.data.make(examples, 0), rng)
            positions = target.fields["positions"].numpy()
            sequence = batch.packing.sequence.numpy()[positions]
            # The objective may reorder sequences (pairs), so the numbers come from its batch.
            yield TestBatch(batch, positions, target.fields["labels"].numpy(), batch.examples.numpy(), sequence)


@dataclass(frozen=True)
class EveryToken:
    """Every token of a text, predicted from those before it in its window."""

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
        """Number of windows; the stream's last token, an end of text, is in none."""
        return 1 + max(0, -(-(self.total - 2 - self.max_len) // self.stride))

    def batches(self, batch_tokens: int) -> Iterator[TestBatch]:
        documents = np.concatenate([[0], self.files.document_token_ends])
        ends = documents[1:] + np.arange(1, len(documents))  # positions of the separators after each document
        at_once = max(1, batch_tokens // self.max_len)
        for first in range(0, self.n, at_once):
            windows = np.arange(first, min(self.n, first + at_once))
            starts = windows * self.stride
            lengths = np.minimum(self.max_len, self.total - 2 - starts)
            window = np.repeat(np.arange(len(windows)), lengths)
            offset = np.arange(len(window)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            positions = starts[window] + offset
            tokens, _ = self._take(positions, ends)
            following, text = self._take(positions + 1, ends)
            new = (windows[window] == 0) | (offset >= self.max_len - self.stride)
            chosen = np.flatnonzero(new & text)
            batch = Batch(
                tokens=torch.from_numpy(tokens),
                packing=Packing.of(lengths.tolist()),
                examples=torch.from_numpy(windows),
                special=torch.zeros(len(tokens), dtype=torch.bool),
            )
            yield TestBatch(batch, chosen, following[chosen], windows, window[chosen])

    def _take(self, positions: Ids, ends: Ids) -> tuple[Ids, NDArray[np.bool_]]:
        """Ids at positions of the stream, and which of them are text."""
        document = np.searchsorted(ends, positions)
        text = (positions > 0) & (ends[np.minimum(document, len(ends) - 1)] != positions)
        index = np.where(text, positions - 1 - document, 0)
        return np.where(text, self.files.take(index), self.framing.last), text


@dataclass(frozen=True)
class Predictions:
    """For each sequence: the sum of the losses, the number of correct predictions and of predictions, [n] each;
    ``head`` is the objective."""

    head: str
    losses: Floats
    right: Floats
    counts: Floats

    def measure(self, seed: int, resamples: int, n_bytes: int | None) -> dict[str, Interval]:
        """loss (nats for each token), perplexity, mlm_accuracy or clm_accuracy (the fraction of tokens that were the
        most likely) and, where every token of a text of known size is predicted, bits_per_byte."""
        drawn: dict[str, Any] = {"seed": seed, "resamples": resamples}
        loss = intervals.ratio(self.losses, self.counts, **drawn)
        values = {
            "loss": loss,
            "perplexity": intervals.ratio(self.losses, self.counts, then=np.exp, **drawn),
            f"{self.head}_accuracy": intervals.ratio(self.right, self.counts, **drawn),
        }
        if n_bytes:
            scale = float(self.counts.sum()) / n_bytes / math.log(2)
            values["bits_per_byte"] = Interval(loss.value * scale, loss.low * scale, loss.high * scale)
        return values

    def minus(self, other: Predictions, seed: int, resamples: int) -> dict[str, Interval]:
        """The differences to another model's results on the same test set, on the same resamples."""
        drawn: dict[str, Any] = {"seed": seed, "resamples": resamples}
        return {
            "loss": intervals.ratio(self.losses - other.losses, self.counts, **drawn),
            f"{self.head}_accuracy": intervals.ratio(self.right - other.right, self.counts, **drawn),
        }


Guess = Callable[[TestBatch], tuple[Floats, NDArray[np.bool_]]]


def evaluate_on(test_set: TestSet, guess: Guess, *, batch_tokens: int, label: str = "") -> Predictions:
    """Evaluate on all batches; ``guess`` returns each prediction's loss and whether it was correct, [M]."""
    sums = np.zeros((3, test_set.n))
    done = 0
    for batch in test_set.batches(batch_tokens):
        losses, right = guess(batch)
        for row, values in zip(sums, (losses, right, np.ones(len(losses))), strict=True):
            row[batch.examples] = np.bincount(batch.sequence, weights=values, minlength=len(batch.examples))
        done += len(batch.examples)
        if label:
            events.emit("progress", label=label, done=done, total=test_set.n, unit="sequences")
    return Predictions(test_set.head, *sums)


def by_model(model: Model, head: str, device: str) -> Guess:
    """Predictions of a model."""
    model.to(device).eval()
    vocabulary = cast(VocabularyHead, model.heads[head])

    def guess(batch: TestBatch) -> tuple[Floats, NDArray[np.bool_]]:
        with torch.inference_mode():
            positions = torch.from_numpy(batch.positions)
            output = model(batch.batch.to(device), wanted=Wanted(positions))
            token_losses, right = vocabulary.token_losses(
                output.at(positions), torch.from_numpy(batch.labels).to(device)
            )
        losses = token_losses.double().cpu().numpy()
        if not np.isfinite(losses).all():
            raise RunError("the model's losses are not numbers", hint="its weights are damaged, or training diverged")
        return losses, right.cpu().numpy()

    return guess


def by_frequency(files: TokenFiles, vocab_size: int) -> Guess:
    """Predictions without context: each token's relative frequency in ``files``, one added to every count (Laplace)."""
    counts = np.ones(vocab_size)
    for start in range(0, files.n_tokens, 1 << 22):
        counts += np.bincount(files.tokens(start, min(files.n_tokens, start + (1 << 22))), minlength=vocab_size)
    losses = -np.log(counts / counts.sum())
    best = int(counts.argmax())

    def guess(batch: TestBatch) -> tuple[Floats, NDArray[np.bool_]]:
        return losses[batch.labels], batch.labels == best

    return guess
