"""What a pre-training objective is: two pure functions.

``corrupt(batch, rng)`` makes what the model reads and what it should predict; ``loss(output, target)`` measures the
prediction. The loop does the rest. An objective imports no model: it finds its head by name in ``output.heads``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted, wanted_by_all
from nlpkit.tokenizers.base import ROLES, Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """What an objective must know of the tokenizer: its size, and the ids of special pieces by role."""

    size: int
    roles: Mapping[str, int]

    def need(self, role: str, objective: str) -> int:
        """The id of a role. Errors: a tokenizer without it."""
        if role not in self.roles:
            raise UserError(
                f'objective "{objective}" needs a {role} token, and the tokenizer has none',
                hint="train a tokenizer with the default special pieces",
            )
        return self.roles[role]


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """What objectives need to know of a tokenizer."""
    roles = {name: tokenizer.role(name) for name in ROLES}
    return Vocabulary(tokenizer.vocab_size, {name: number for name, number in roles.items() if number is not None})


@dataclass(frozen=True)
class Target:
    """What should be predicted. ``counts`` says how many predictions each term of the loss has; it is known before the
    model runs, so that accumulated micro-batches weigh every prediction the same whatever their sizes. ``wanted``:
    which tokens' hidden states the loss reads, so that no others are computed; None: all."""

    counts: Mapping[str, int]
    fields: Mapping[str, Any] = field(default_factory=dict)
    wanted: Wanted | None = None

    def to(self, device: str) -> Target:
        """The same target, its tensors (and those of targets inside it) on another device."""
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in self.fields.items()}
        return replace(self, fields=moved)


class Objective(Protocol):
    """``heads``: the model's heads it needs. ``source``: how sequences are cut from a token file ("blocks": equal
    lengths from the running text; "sentences": whole sentences of one document; "pairs": two segments and the label
    whether the second follows). ``layers``: whether it looks at each block's output. ``weights``: of each term.
    ``needs``: what a model must be able to do."""

    @property
    def name(self) -> str: ...
    @property
    def heads(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def layers(self) -> bool: ...
    @property
    def weights(self) -> Mapping[str, float]: ...
    @property
    def needs(self) -> frozenset[Ability]: ...

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        """A function of the batch and the address only; each sequence's randomness of its own example number."""

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        """For each term of ``target.counts``, the SUM of the losses of its predictions (a scalar)."""


@dataclass(frozen=True)
class Kind:
    """One line of `nlpkit ls objectives`, and how the objective is made."""

    name: str
    title: str
    paper: str
    build: Callable[[Vocabulary, Mapping[str, Any]], Objective]


class Combined:
    """Several objectives on the same batch; each keeps its own terms, weights and randomness."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        self.parts = tuple(parts)
        self.name = "+".join(part.name for part in parts)
        self.heads = tuple(dict.fromkeys(head for part in parts for head in part.heads))
        # "blocks" is what an objective wants that can read anything; a stricter wish wins.
        wishes = {part.source for part in parts} - {"blocks"} or {"blocks"}
        if len(wishes) > 1:
            raise UserError(f'objective "{self.name}" wants its text cut in two ways: {", ".join(sorted(wishes))}')
        self.source = wishes.pop()
        self.layers = any(part.layers for part in parts)
        self.weights = {term: weight for part in parts for term, weight in part.weights.items()}
        self.needs = frozenset().union(*(part.needs for part in parts))

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        counts: dict[str, int] = {}
        targets: dict[str, Target] = {}
        for part in self.parts:
            batch, target = part.corrupt(batch, rng)
            counts |= target.counts
            targets[part.name] = target
        return batch, Target(counts, targets, wanted_by_all(target.wanted for target in targets.values()))

    def loss(self, output: Any, target: Target) -> dict[str, Tensor]:
        return {
            term: value for part in self.parts for term, value in part.loss(output, target.fields[part.name]).items()
        }
