"""Causal language model: every token from those before it (Radford et al. 2018, equation 1).

Shapes: N tokens of a batch, M = N - B predictions (the last token of a sequence has nothing to predict), D model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch
from nlpkit.objectives.base import Kind, Target, Vocabulary


@dataclass(frozen=True)
class CausalLM:
    """Changes nothing in the batch; the model itself must not look ahead."""

    name = "clm"
    heads = ("clm",)
    source = "blocks"
    layers = False
    weights = {"clm": 1.0}  # noqa: RUF012 - never written
    needs = frozenset({Ability.CAUSAL})

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        predicts = torch.ones_like(batch.tokens, dtype=torch.bool)
        predicts[batch.packing.ends] = False
        positions = predicts.nonzero().squeeze(1)
        return batch, Target({"clm": len(positions)}, {"positions": positions, "labels": batch.tokens[positions + 1]})

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        hidden_MD = output.at(target.fields["positions"])
        return {"clm": output.heads["clm"].loss(hidden_MD, target.fields["labels"])}


def build(vocabulary: Vocabulary, options: Mapping[str, Any]) -> CausalLM:
    """Takes no options."""
    return CausalLM()


KIND = Kind("clm", "causal language model", "Radford et al. 2018, section 3.1", build)
