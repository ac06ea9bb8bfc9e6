"""The interface of every model family: its description, its output, and the methods that training calls.

A family is one file of this folder: a frozen config, a `Model` that wires layers of nlpkit/layers, the names of its
tensors in Hugging Face files, and its paper. It exposes one `Family` called FAMILY and has one line in the table of
nlpkit/models/__init__.py.

Shapes: N tokens of a batch, B sequences, D model width, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError
from nlpkit.base.limits import MAX_LAYERS, MAX_SIZE
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.framing import Template
from nlpkit.layers.packing import Packing

# A field's annotation -> the types its value may have.
_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}


def or_none(default: Any = 0) -> Any:
    """A size that may be 0, for a model without that part (segments, say)."""
    return field(default=default, metadata={"least": 0})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The fields of every family. A family adds more, with defaults; `nlpkit info` prints them all. A field may be
    absent (``int | None``: None) or, by `or_none`, 0."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_len: int
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        """Errors: a value of the wrong type, a size that is too small, a width that the heads do not divide."""
        for item in fields(self):
            kind, absent = str(item.type).removesuffix(" | None"), str(item.type).endswith(" | None")
            value, kinds, least = getattr(self, item.name), _KINDS[kind], item.metadata.get("least", 1)
            most = MAX_LAYERS if item.name == "n_layers" else MAX_SIZE
            if value is None and absent:
                continue
            if type(value) not in kinds or (kind == "int" and not least <= value <= most):
                size = f"{'a positive int' if least else 'an int of at least 0'}, at most {most:,}"
                expected = {"int": size, "float": "a number", "bool": "true or false", "str": "a text"}[kind]
                raise UserError(f"{item.name} is {repr(value)[:60]}, expected {expected}{' or null' if absent else ''}")
            if item.name in ("dropout", "attention_dropout", "norm_eps") and not 0 <= value < 1:
                raise UserError(f"{item.name} is {value}, expected 0 to less than 1")
        if self.d_model % self.n_heads:
            raise UserError(f"d_model {self.d_model} cannot be divided by {self.n_heads} heads")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Output:
    """The output of a model for a batch.

    hidden [N, D]: the last layer, one row for each token; where only some tokens were wanted, [A, D], the tokens at
    ``positions`` [A] of the flat batch. `at` selects rows of either. layers: the output of the embeddings and of each
    layer, [N, D] each, when requested. ``heads`` are the model's, by name; `pooled` is one vector for each sequence,
    [B, D].
    """

    hidden: Tensor
    batch: Batch
    heads: nn.ModuleDict
    pool: Callable[[Output], Tensor]
    layers: tuple[Tensor, ...] = ()
    positions: Tensor | None = None
    _pooled: Tensor | None = None

    def at(self, positions_M: Tensor) -> Tensor:
        """The last layer of the tokens at ``positions_M``, [M, D], which must be among the wanted ones."""
        if self.positions is positions_M:
            return self.hidden
        positions_M = positions_M.to(self.hidden.device)
        rows_M = positions_M if self.positions is None else torch.searchsorted(self.positions, positions_M)
        return self.hidden.index_select(0, rows_M)

    @property
    def pooled(self) -> Tensor:
        """One vector for each sequence, [B, D], as the family defines it (BERT: tanh of a projected [CLS]; GPT-2: the
        last token). Computed at the first use."""
        if self._pooled is None:
            self._pooled = self.pool(self)
        return self._pooled


class Model(nn.Module):
    """A model: ``forward(batch)`` returns an `Output`.

    ``heads`` holds the heads of objectives and tasks, by name ("mlm", "nsp", "clm", "classify", ...). Tensor names
    are canonical and the same across families: ``embeddings.token.weight``,
    ``encoder.layers.3.attention.query.weight`` (``decoder.`` for causal stacks), ``heads.mlm.bias``. Tied weights
    appear once, under the embedding's name.
    """

    config: Config
    heads: nn.ModuleDict
    family: ClassVar[str]
    classifier_bias: ClassVar[bool] = True

    @property
    def pools(self) -> bool:
        """Whether the model defines a vector for each sequence (`Output.pooled`)."""
        return True

    def pooled_positions(self, batch: Batch) -> Tensor:
        """The token of each sequence from which `Output.pooled` is computed, [B] int64; the first, unless a family
        overrides this."""
        return batch.packing.starts

    def wanted_positions(self, wanted: Wanted | None, batch: Batch) -> Tensor | None:
        """The positions [A] of the wanted tokens; None: every token."""
        return None if wanted is None else wanted.tokens(self.pooled_positions(batch)).to(batch.tokens.device)

    @abstractmethod
    def forward(self, batch: Batch, *, layers: bool = False, state: Any = None, wanted: Wanted | None = None) -> Output:
        """Hidden states of every token, or of the ``wanted`` ones. ``layers`` returns each layer's output as well, of
        every token; ``state`` is what was read before this batch of its sequences (nlpkit/layers/state.py), which the
        model reads on from and changes; of families that can."""


@dataclass(frozen=True)
class Family:
    """One line of `nlpkit ls models`, and the properties of a family that commands read.

    ``framing`` says the special tokens around its texts (nlpkit/data/framing.py), ``offers`` what it can do.
    ``objective`` is the default of `pretrain`, ``heads`` are those that its pre-training objectives may use,
    ``pooling`` is the default of `embed`. ``build(config, heads)`` builds the module, weights initialised by torch's
    global generator (the caller seeds it), with the named heads of pre-training. ``huggingface`` is the family's table
    of names (nlpkit/models/names.py), or None.
    """

    name: str
    title: str
    paper: str
    framing: Template
    offers: frozenset[Ability]
    objective: str
    config: type[Config]
    build: Callable[[Any, tuple[str, ...]], Model]
    heads: tuple[str, ...]
    pooling: str
    huggingface: Any = None

    def example(self, config: Config, lengths: Sequence[int], seed: int = 0) -> Batch:
        """Arbitrary sequences of these lengths, all that the family reads filled in: what contract tests give it."""
        packing, generator = Packing.of(lengths), torch.Generator().manual_seed(seed)
        tokens = torch.randint(config.vocab_size, (packing.total,), generator=generator)
        segments = torch.randint(2, (packing.total,), generator=generator) if self.framing.segments else None
        special = torch.zeros(packing.total, dtype=torch.bool)
        return Batch(tokens, packing, torch.arange(len(lengths)), special, segments)
