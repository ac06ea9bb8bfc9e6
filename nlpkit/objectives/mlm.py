"""Masked language model (Devlin et al. 2019, section 3.1 and appendix A.1; Liu et al. 2019, section 4.1).

A fraction of each sequence's tokens is chosen; most become [MASK], some a random token, some stay; the loss counts the
chosen positions only. Dynamic masks change with every epoch, static ones repeat after ``mask_copies`` epochs.

Shapes: N tokens of a batch, B sequences, M chosen positions, D model width.
Deviations: none in the recipe; the choice is made by rank, so every sequence has max(1, round(ratio x candidates))
chosen positions, as in the paper's code (without its cap of 20).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError, refuse
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted
from nlpkit.objectives.base import Kind, Target, Vocabulary

OPTIONS = ("mask_ratio", "mask_mix", "masks", "mask_copies")
RATIO, MIX, COPIES = 0.15, "80/10/10", 10  # defaults (Devlin et al. 2019; ten copies: Liu et al. 2019)


@dataclass(frozen=True)
class MaskedLM:
    """``ratio``: fraction of the candidates that is chosen; ``mix``: their fractions that become [MASK], become random
    and stay; ``copies``: None for dynamic masks, else how many different static masks each sequence has."""

    vocab_size: int
    mask_id: int
    ratio: float = 0.15
    mix: tuple[float, float, float] = (0.8, 0.1, 0.1)
    copies: int | None = None

    name = "mlm"
    heads = ("mlm",)
    source = "blocks"
    layers = False
    weights = {"mlm": 1.0}  # noqa: RUF012 - never written
    needs = frozenset({Ability.BOTH_WAYS})

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        tokens = batch.tokens.numpy()
        sequence = batch.packing.sequence.numpy()
        draw, kind, other, _ = self._address(rng).uniform(
            batch.examples.numpy()[sequence], batch.packing.positions.numpy()
        )
        positions = choose_positions(draw, sequence, ~batch.special.numpy(), self.ratio, len(batch.packing.lengths))
        kind, masked = kind[positions], tokens.copy()
        masked[positions[kind < self.mix[0]]] = self.mask_id
        random = positions[(kind >= self.mix[0]) & (kind < self.mix[0] + self.mix[1])]
        masked[random] = (other[random] * self.vocab_size).astype(np.int64)
        chosen = torch.from_numpy(positions)
        fields = {"positions": chosen, "labels": torch.from_numpy(tokens[positions])}
        return batch.with_tokens(torch.from_numpy(masked)), Target({"mlm": len(chosen)}, fields, Wanted(chosen))

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        # Only chosen positions reach the vocabulary projection: the largest product of the model, for few of its rows.
        hidden_MD = output.at(target.fields["positions"])
        return {"mlm": output.heads["mlm"].loss(hidden_MD, target.fields["labels"])}

    def _address(self, rng: Address) -> Address:
        """Dynamic masks belong to (seed, objective, epoch); static ones to the epoch's remainder."""
        if self.copies is None:
            return rng.at("mask")
        *before, epoch = rng.parts
        return Address(rng.seed, (*before, "static", int(epoch) % self.copies))


def choose_positions(
    draw: NDArray[np.float64], sequence: NDArray[np.int64], candidate: NDArray[np.bool_], ratio: float, n_sequences: int
) -> NDArray[np.int64]:
    """In each sequence the round(ratio x candidates) candidates with the smallest draws, at least one.

    Shapes: draw, sequence, candidate [N] -> positions [M], ascending.
    """
    where = np.flatnonzero(candidate)
    order = where[np.lexsort((draw[where], sequence[where]))]  # by sequence, then by draw
    counts = np.bincount(sequence[where], minlength=n_sequences)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    wanted = np.minimum(np.maximum(1, np.rint(ratio * counts)), counts)
    return np.sort(order[rank < np.repeat(wanted, counts)]).astype(np.int64)


def parse_mix(text: str) -> tuple[float, float, float]:
    """``80/10/10`` -> fractions of [MASK], random, unchanged. Errors: not three numbers that sum to 100."""
    try:
        mask, random, keep = (float(part) for part in text.split("/"))
    except ValueError:
        mask = random = keep = -1.0
    if min(mask, random, keep) < 0 or abs(mask + random + keep - 100) > 1e-9:
        raise UserError(
            f'mask-mix "{text}" is not three percentages that sum to 100',
            hint="80/10/10: [MASK], random token, unchanged",
        )
    return mask / 100, random / 100, keep / 100


def build(vocabulary: Vocabulary, options: Mapping[str, Any]) -> MaskedLM:
    """From the options mask_ratio, mask_mix, masks ("dynamic" or "static") and mask_copies; None is the default."""
    ratio = RATIO if options["mask_ratio"] is None else options["mask_ratio"]
    if not 0 < ratio <= 1:
        raise UserError(f"mask-ratio is {ratio}, expected more than 0 and at most 1")
    return MaskedLM(
        vocab_size=vocabulary.size,
        mask_id=vocabulary.need("mask", "mlm"),
        ratio=ratio,
        mix=parse_mix(MIX if options["mask_mix"] is None else options["mask_mix"]),
        copies=copies(options),
    )


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options with their defaults."""
    taken = {"mask_ratio": RATIO, "mask_mix": MIX, "masks": "dynamic", "mask_copies": copies(options)}
    return {name: taken[name] if options[name] is None else options[name] for name in OPTIONS}


def copies(options: Mapping[str, Any]) -> int | None:
    """How many epochs static masks have before they repeat; None for dynamic ones."""
    masks, number = options["masks"] or "dynamic", options["mask_copies"]
    if masks not in ("dynamic", "static"):
        raise UserError(f'masks "{masks}" is unknown', hint="valid: dynamic, static")
    if masks == "dynamic":
        refuse({"mask_copies": number}, "dynamic masks never repeat", hint="add --masks static")
        return None
    return COPIES if number is None else int(number)


KIND = Kind("mlm", "masked language model", "Devlin et al. 2019, section 3.1", build)
