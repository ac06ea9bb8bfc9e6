"""A head with one output: a score of a text or of a pair of texts. Cross-encoders (Nogueira and Cho 2019, "Passage
Re-ranking with BERT", section 3) and regression models have one. Such models are imported; no command trains one.

Shapes: n examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nlpkit.base.errors import UserError, choose
from nlpkit.data.labelled import Examples
from nlpkit.tasks.base import Kind, Scores
from nlpkit.tasks.classify import Classify


def _sigmoid(scores: Scores) -> Scores:
    with np.errstate(over="ignore"):  # for a very small score: 1 / infinity is 0
        probabilities: Scores = 1 / (1 + np.exp(-scores))
    return probabilities


# The activation of the output.
ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {"identity": lambda scores: scores, "sigmoid": _sigmoid}


@dataclass(frozen=True)
class Score(Classify):
    """Encodes as `Classify` does, and returns one number: the output after ``activation``."""

    activation: str = "sigmoid"

    name = "score"

    def decode(self, scores: Scores) -> list[dict[str, Any]]:
        """score: the output, activated."""
        return [{"score": round(float(value), 6)} for value in ACTIVATIONS[self.activation](scores[:, 0])]

    def classes(self, examples: Examples) -> Any:
        raise UserError(
            "the model computes a score and has no labels",
            where=examples.path,
            hint="nlpkit predict prints the score of each text",
        )


def learn(examples: Examples, options: Mapping[str, Any]) -> Score:
    """Errors: always; such models can only be imported."""
    raise UserError(
        "a score cannot be trained", where=examples.path, hint="nlpkit finetune --task classify takes labels"
    )


def restore(config: Mapping[str, Any]) -> Score:
    """From a model's config. Errors: an unknown activation."""
    known = {item.name for item in fields(Score)}
    values = {name: value for name, value in config.items() if name in known}
    choose(ACTIVATIONS, str(values.get("activation", "sigmoid")), field="activation")
    return Score(**{**values, "labels": tuple(values["labels"])})


KIND = Kind(
    name="score",
    title="one number for a text or a pair of texts",
    paper="Nogueira and Cho 2019, section 3",
    metrics=(),
    learn=learn,
    restore=restore,
)
