"""What a fine-tuning task is.

A task is an `Objective` that also knows how labelled examples become sequences, what the numbers of its head mean,
and how they are measured. It is one file of this folder: a class such as `classify.Classify`, a `Kind` called KIND,
and one line in the table of nlpkit/tasks/__init__.py. What ``to_json`` returns is kept as ``config["task"]`` of the
model, so that a model file knows its labels; the head is the model's ``heads.classify``, one row a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.labelled import Examples
from nlpkit.objectives.base import Objective
from nlpkit.tasks.sequences import Encoder, Sequences

Scores = NDArray[np.float64]


class Task(Objective, Protocol):
    """``text``, ``pair`` and ``label`` are the columns of a labelled file (``pair`` None: single texts)."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def pair(self) -> str | None: ...
    @property
    def label(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """Everything `Kind.restore` needs."""

    def encode(self, examples: Examples, encoder: Encoder) -> Sequences:
        """Sequences with the labels that `loss` reads, when the examples have any.

        Errors: a label outside the task's, with its file and line.
        """

    def wanted(self, batch: Batch) -> Wanted | None:
        """Which tokens' hidden states `scores` reads; None: all."""

    def scores(self, output: Any) -> Tensor:
        """The head's answer to a batch, one row a sequence."""

    def decode(self, scores: Scores) -> list[dict[str, Any]]:
        """What `predict` prints of each row of scores."""

    def quick(self, scores: Scores, sequences: Sequences) -> dict[str, float]:
        """Metrics without intervals, for training to look at."""


@dataclass(frozen=True)
class Kind:
    """One line of `nlpkit ls tasks`, and the two ways a task is made: from training examples and a command's options,
    or from what a model's config kept. ``metrics`` may choose the best weights; the first is the default."""

    name: str
    title: str
    paper: str
    metrics: tuple[str, ...]
    learn: Callable[[Examples, Mapping[str, Any]], Task]
    restore: Callable[[Mapping[str, Any]], Task]
