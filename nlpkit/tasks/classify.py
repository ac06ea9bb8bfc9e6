"""Classification of texts and of pairs of texts (Devlin et al. 2019, section 4.1 and figure 4 a, b).

Shapes: B sequences, C classes, D width, n examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError, choose, unknown
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.labelled import Examples
from nlpkit.layers.cross_entropy import cross_entropy_sum
from nlpkit.measure import metrics
from nlpkit.objectives.base import Target
from nlpkit.tasks.base import Kind, Scores
from nlpkit.tasks.pooling import POOLINGS
from nlpkit.tasks.sequences import Encoder, Sequences


@dataclass(frozen=True)
class Classify:
    """One label for each sequence.

    labels: a class's number is the index of its label. pooling: of the tokens' vectors (nlpkit/tasks/pooling.py). text,
    pair, label: columns of a labelled file; pair is None for single texts. max_len: longest sequence in fine-tuning,
    None when it is not known.
    """

    labels: tuple[str, ...]
    pooling: str = "pooler"
    text: str = "text"
    pair: str | None = None
    label: str = "label"
    max_len: int | None = None

    name = "classify"
    heads = ("classify",)
    source = "labelled"
    layers = False
    weights = {"classify": 1.0}  # noqa: RUF012 - never written
    needs: ClassVar[frozenset[Ability]] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self), "labels": list(self.labels)}

    def encode(self, examples: Examples, encoder: Encoder) -> Sequences:
        classes = None if examples.labels is None else {"classify": self.classes(examples)}
        return encoder.encode(examples.texts, examples.pairs, classes)

    def classes(self, examples: Examples) -> Any:
        """The number of each example's class, [n]. Errors: an unknown label, with its file and line."""
        number = {label: index for index, label in enumerate(self.labels)}
        for row, label in enumerate(examples.labels or ()):
            if label not in number:
                raise unknown(label, self.labels, field="label", where=examples.where(row))
        return np.array([number[label] for label in examples.labels or ()], np.int64)

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        labels = batch.labels["classify"]
        return batch, Target({"classify": len(labels)}, {"labels": labels}, self.wanted(batch))

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        return {"classify": cross_entropy_sum(self.scores(output), target.fields["labels"])}

    def wanted(self, batch: Batch) -> Wanted | None:
        return POOLINGS[self.pooling].wanted(batch)

    def scores(self, output: Any) -> Tensor:
        """Logits [B, C]."""
        logits_BC: Tensor = output.heads["classify"](POOLINGS[self.pooling](output))
        return logits_BC

    def decode(self, scores: Scores) -> list[dict[str, Any]]:
        """label, and the probability of each label."""
        exponents = np.exp(scores - scores.max(1, keepdims=True))
        probabilities = exponents / exponents.sum(1, keepdims=True)
        return [
            {
                "label": self.labels[int(row.argmax())],
                "probabilities": {
                    label: round(float(probability), 6) for label, probability in zip(self.labels, row, strict=True)
                },
            }
            for row in probabilities
        ]

    def quick(self, scores: Scores, sequences: Sequences) -> dict[str, float]:
        truth = sequences.labels["classify"]
        table = metrics.confusion(truth, scores.argmax(1), len(self.labels))
        return {"loss": float(losses(scores, truth).mean()), **metrics.point(table)}


def losses(scores: Scores, truth: Any) -> Scores:
    """-log p(truth) of each example, [n]. Shapes: scores [n, C], truth [n]."""
    top = scores.max(1)
    normaliser = top + np.log(np.exp(scores - top[:, None]).sum(1))
    nll: Scores = normaliser - scores[np.arange(len(scores)), truth]
    return nll


def learn(examples: Examples, options: Mapping[str, Any]) -> Classify:
    """The task for a training file: its labels, sorted. Errors: fewer than two labels, an unknown pooling."""
    labels = tuple(sorted(set(examples.labels or ())))
    if len(labels) < 2:
        which = f'one label, "{labels[0]}"' if labels else "no labels"
        hint = f'labels are read from the column "{options["label"]}"; --label names another'
        raise UserError(f"has {which}; a classifier needs at least two", where=examples.path, hint=hint)
    choose(POOLINGS, options["pooling"], field="pooling")
    settings = {name: options[name] for name in ("pooling", "text", "pair", "label", "max_len")}
    return Classify(labels, **settings)


def restore(config: Mapping[str, Any]) -> Classify:
    """From a model's config. An imported model records only its labels. Errors: a single label, whose probability would
    always be 1."""
    if len(config["labels"]) < 2:
        raise UserError(
            "its classifier has one output, and its config does not say what that means",
            hint="import it again: nlpkit reads one output as a score",
        )
    if config.get("pooling") is not None:
        choose(POOLINGS, str(config["pooling"]), field="pooling")
    known = {item.name for item in fields(Classify)}
    values = {name: value for name, value in config.items() if name in known}
    return Classify(**{**values, "labels": tuple(values["labels"])})


KIND = Kind(
    name="classify",
    title="one label for a text or a pair of texts",
    paper="Devlin et al. 2019, section 4.1",
    metrics=("macro_f1", "accuracy", "mcc", "loss"),
    learn=learn,
    restore=restore,
)
