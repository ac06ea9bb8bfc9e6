"""Next-sentence prediction (Devlin et al. 2019, section 3.1, task #2): does segment B follow segment A?

The pairs are made where the text is cut (nlpkit/data/pretraining.py); here is only the question. Label 0: B follows;
1: B is from another document (the numbering of the paper's code and of Hugging Face).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted
from nlpkit.objectives.base import Kind, Target, Vocabulary


@dataclass(frozen=True)
class NextSentence:
    """Reads ``batch.labels["nsp"]`` [B]."""

    name = "nsp"
    heads = ("nsp",)
    source = "pairs"
    layers = False
    weights = {"nsp": 1.0}  # noqa: RUF012 - never written
    needs = frozenset({Ability.BOTH_WAYS})

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        labels = batch.labels["nsp"]
        return batch, Target({"nsp": len(labels)}, {"labels": labels}, Wanted(pooled=True))

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        return {"nsp": output.heads["nsp"].loss(output.pooled, target.fields["labels"])}


def build(vocabulary: Vocabulary, options: Mapping[str, Any]) -> NextSentence:
    """Takes no options."""
    return NextSentence()


KIND = Kind("nsp", "next-sentence prediction", "Devlin et al. 2019, section 3.1", build)
