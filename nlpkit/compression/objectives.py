"""Objectives of distillation: predict as the teacher does, predict the label, and have the teacher's hidden states.

Sanh et al. 2019, "DistilBERT", section 2: a linear combination of the soft-target loss at temperature T (kl), the
loss against the data (hard: masked words, next words, or labels) and the cosine between last hidden states (cos). The
teacher runs on the very batch the student reads, masks included, without dropout and without gradients.

Deviations: kl is computed where there is something to predict (their ``restrict_ce_to_mask``; they default to every
token), so that only those positions are projected on the vocabulary; cos is computed at every token, as theirs.

Shapes: M predictions, N tokens, B sequences, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nlpkit.base.abilities import Ability
from nlpkit.base.seeds import Address
from nlpkit.compression.losses import cosine, soft_targets
from nlpkit.data.batch import Batch, Wanted
from nlpkit.layers.cross_entropy import CHUNK, cross_entropy_sum
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.linear import linear
from nlpkit.models.base import Model, Output
from nlpkit.objectives.base import Objective, Target
from nlpkit.tasks.base import Task

T = TypeVar("T")
WIDEN = "distill"  # the head that projects a narrower student's hidden states to its teacher's width; not saved


@dataclass(frozen=True)
class Distillation:
    """The common part: ``base`` is the teacher's own objective, ``weights`` are those of kl, hard and cos."""

    teacher: Model
    base: Any
    temperature: float
    weights: Mapping[str, float]

    name = "distill"
    layers = False

    def weighted(self, terms: Mapping[str, T]) -> dict[str, T]:
        """Those terms that have a weight. The others are no part of the loss (hidden states of another width cannot be
        compared when nothing projects them)."""
        return {name: value for name, value in terms.items() if self.weights[name]}

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self.base.heads)

    @property
    def source(self) -> str:
        return str(self.base.source)

    @property
    def needs(self) -> frozenset[Ability]:
        return frozenset(self.base.needs)

    def teacher_output(self, batch: Batch, wanted: Wanted | None) -> Output:
        """The teacher's output for the student's batch."""
        with torch.no_grad():
            output: Output = self.teacher(batch, wanted=wanted)
        return output

    def wanted(self, base: Wanted | None) -> Wanted | None:
        """What the losses read where the base's reads ``base``: hidden states are compared at every token."""
        return None if self.weights["cos"] else base

    def cosine_loss(self, output: Output, teacher: Output) -> Tensor:
        """The sum of the cosine losses over every token."""
        hidden_ND = output.heads[WIDEN](output.hidden) if WIDEN in output.heads else output.hidden
        return cosine(hidden_ND, teacher.hidden)


class LanguageDistillation(Distillation):
    """From a pre-trained teacher, on token files."""

    base: Objective

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        batch, target = self.base.corrupt(batch, rng)
        predictions = target.counts[self.base.name]
        counts = {"kl": predictions, "hard": predictions, "cos": batch.packing.total}
        return batch, Target(self.weighted(counts), target.fields, self.wanted(target.wanted))

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        teacher = self.teacher_output(output.batch, target.wanted)
        (head,) = self.base.heads
        positions = target.fields["positions"]
        vocabulary = cast(VocabularyHead, teacher.heads[head])
        with torch.no_grad():
            known_MD = vocabulary.prepare(teacher.at(positions))

        def soft(logits_mV: Tensor, start: int) -> Tensor:
            with torch.no_grad():
                known_mV = linear(known_MD[start : start + CHUNK], vocabulary.weight, vocabulary.bias)
            return soft_targets(logits_mV, known_mV, self.temperature)

        hidden_MD = output.at(positions)
        kl, hard = vocabulary_losses(cast(VocabularyHead, output.heads[head]), hidden_MD, target.fields["labels"], soft)
        cos = {"cos": self.cosine_loss(output, teacher)} if "cos" in target.counts else {}
        return self.weighted({"kl": kl, "hard": hard}) | cos


class TaskDistillation(Distillation):
    """From a fine-tuned teacher, on its task's texts; where they have no labels, ``hard`` is left out."""

    base: Task

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        counts = self.weighted({"kl": len(batch.packing.lengths), "cos": batch.packing.total})
        wanted = self.wanted(self.base.wanted(batch))
        if not (batch.labels and self.weights["hard"]):
            return batch, Target(counts, wanted=wanted)
        batch, target = self.base.corrupt(batch, rng)
        return batch, Target({**counts, "hard": sum(target.counts.values())}, target.fields, wanted)

    def loss(self, output: Output, target: Target) -> dict[str, Tensor]:
        teacher = self.teacher_output(output.batch, target.wanted)
        losses = {}
        if "kl" in target.counts:
            losses["kl"] = soft_targets(self.base.scores(output), self.base.scores(teacher), self.temperature)
        if "cos" in target.counts:
            losses["cos"] = self.cosine_loss(output, teacher)
        if "hard" in target.counts:
            (losses["hard"],) = self.base.loss(output, target).values()
        return losses


def vocabulary_losses(
    student: VocabularyHead, hidden_MD: Tensor, labels_M: Tensor, soft: Callable[[Tensor, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """The sums of the soft and of the hard losses over the vocabulary, from hidden states at the predictions.
    ``soft`` is the soft loss of logits, whose first prediction has the index ``start``.

    Beyond `CHUNK` predictions the logits are computed a chunk at a time, and again for the backward, so that the logits
    of student and teacher are never all in memory.
    """
    prepared_MD = student.prepare(hidden_MD)

    def part(hidden_mD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        logits_mV = linear(hidden_mD, weight_VD, bias_V)
        hard = cross_entropy_sum(logits_mV, labels_M[start : start + CHUNK])
        return soft(logits_mV, start), hard

    if len(labels_M) <= CHUNK:
        return part(prepared_MD, student.weight, student.bias, 0)
    kl, hard = prepared_MD.new_zeros(()), prepared_MD.new_zeros(())
    for start in range(0, len(labels_M), CHUNK):
        chunk = prepared_MD[start : start + CHUNK]
        kl_part, hard_part = checkpoint(
            part, chunk, student.weight, student.bias, start, use_reentrant=False, preserve_rng_state=False
        )
        kl, hard = kl + kl_part, hard + hard_part
    return kl, hard
