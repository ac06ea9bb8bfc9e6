"""A classifier with one output: how much of something a text, or a pair of texts, has. Cross-encoders are made so
(Nogueira and Cho 2019, "Passage Re-ranking with BERT", section 3), and so are regressions. Such models come from other
tools; no command teaches one.

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
    with np.errstate(over="ignore"):  # of a very small score: 1 / infinity is 0
        found: Scores = 1 / (1 + np.exp(-scores))
    return found


# What the one output becomes.
ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {"identity": lambda scores: scores, "sigmoid": _sigmoid}


@dataclass(frozen=True)
class Score(Classify):
    """Reads as `Classify` does, and answers with one number; ``activation`` says what the output becomes."""

    activation: str = "sigmoid"

    name = "score"

    def decode(self, scores: Scores) -> list[dict[str, Any]]:
        """score: the output, activated."""
        return [{"score": round(float(value), 6)} for value in ACTIVATIONS[self.activation](scores[:, 0])]

    def classes(self, examples: Examples) -> Any:
        raise UserError(
            "the model gives a score and knows no labels",
            where=examples.path,
            hint="nlpkit predict prints the score of each text",
        )


def learn(examples: Examples, options: Mapping[str, Any]) -> Score:
    """Errors: always; such models come from elsewhere."""
    raise UserError(
        "a score cannot be taught", where=examples.path, hint="nlpkit finetune --task classify takes labels"
    )


def restore(config: Mapping[str, Any]) -> Score:
    """From a model's config. Errors: an unknown activation."""
    known = {item.name for item in fields(Score)}
    given = {name: value for name, value in config.items() if name in known}
    choose(ACTIVATIONS, str(given.get("activation", "sigmoid")), field="activation")
    return Score(**{**given, "labels": tuple(given["labels"])})


KIND = Kind(
    name="score",
    title="one number for a text or a pair of texts",
    paper="Nogueira and Cho 2019, section 3",
    metrics=(),
    learn=learn,
    restore=restore,
)
