"""What a fine-tuning task is.

A task is an `Objective` that also encodes labelled examples as sequences, decodes the scores of its head, and computes
its metrics. It is one file of this folder: a class such as `classify.Classify`, a `Kind` called KIND, and one line in
the table of nlpkit/tasks/__init__.py. The result of ``to_json`` is stored as ``config["task"]`` of the model, so that a
model file contains its labels; the head is the model's ``heads.classify``, one row for each label.
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
        """The argument of `Kind.restore`."""

    def encode(self, examples: Examples, encoder: Encoder) -> Sequences:
        """Sequences, with the labels that `loss` reads when the examples have any.

        Errors: a label outside the task's, with its file and line.
        """

    def wanted(self, batch: Batch) -> Wanted | None:
        """The tokens whose hidden states `scores` reads; None: all."""

    def scores(self, output: Any) -> Tensor:
        """The head's output for a batch, one row for each sequence."""

    def decode(self, scores: Scores) -> list[dict[str, Any]]:
        """The output of `predict` for each row of scores."""

    def quick(self, scores: Scores, sequences: Sequences) -> dict[str, float]:
        """Metrics without intervals, for evaluation during training."""


@dataclass(frozen=True)
class Kind:
    """One line of `nlpkit ls tasks`, and the two constructors of a task: ``learn`` from training examples and a
    command's options, ``restore`` from a model's config. Any of ``metrics`` may select the best weights; the first is
    the default."""

    name: str
    title: str
    paper: str
    metrics: tuple[str, ...]
    learn: Callable[[Examples, Mapping[str, Any]], Task]
    restore: Callable[[Mapping[str, Any]], Task]
