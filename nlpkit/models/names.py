"""The names of a family's tensors and fields in Hugging Face files: a table that is read in both directions.

A family's file defines one `HuggingFace`; nlpkit/exchange/huggingface.py reads and writes the files. "Ours" are the
names of nlpkit, "theirs" those of transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError, choose
from nlpkit.base.limits import MAX_SIZE

Arrays = Mapping[str, NDArray[Any]]

# Ours -> theirs; the first of theirs is the one that is written.
ACTIVATIONS = {
    "gelu": ("gelu", "gelu_python"),
    "gelu-tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_accurate"),
    "relu": ("relu",),
}


@dataclass(frozen=True)
class Name:
    """One tensor of theirs, and ours: one tensor, or several that theirs concatenates. ``{}`` is a layer's number.
    ``transposed``: theirs is [in, out] (GPT-2's Conv1D). ``only``: the class of theirs that has this name for it; the
    others have the entry without."""

    ours: tuple[str, ...]
    theirs: str
    transposed: bool = False
    only: str | None = None


def both(
    ours: str | Sequence[str], theirs: str, *, transposed: bool = False, only: str | None = None
) -> tuple[Name, Name]:
    """The entries of a layer's weight and bias."""
    parts = (ours,) if isinstance(ours, str) else tuple(ours)
    weight, bias = (tuple(f"{part}.{kind}" for part in parts) for kind in ("weight", "bias"))
    return Name(weight, f"{theirs}.weight", transposed, only), Name(bias, f"{theirs}.bias", only=only)


def one(ours: str, theirs: str) -> Name:
    """The entry of a single tensor."""
    return Name((ours,), theirs)


@dataclass(frozen=True)
class HuggingFace:
    """The table of a family.

    ``prefix`` begins the name of every tensor of the base model in files of models with a head, and not in files of the
    base model alone. ``architectures``: their class -> our heads in it. ``pooling``: what their classifier can read ->
    the rewriting that it needs (nlpkit/exchange/poolings.py; None: none); the first is the class's own.
    ``fields``: ours -> theirs; ``defaults``: the value of theirs when a file has none; ``fixed``: the only values of
    theirs that our layers support, always written. ``tied``: copies of another tensor in some files. ``ignored``: a
    pattern of tensors without information. ``also``: more fields of theirs -> the field of ours that they repeat.
    ``absent``: a field of ours -> the tensor whose absence makes it False. ``positions``: their table of positions
    counts from the padding token's id plus 1, so that it has as many rows more than ours, which no token reads.
    """

    model_type: str
    prefix: str
    names: tuple[Name, ...]
    architectures: Mapping[str, tuple[str, ...]]
    pooling: Mapping[str, str | None]
    fields: Mapping[str, str]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]
    tied: Mapping[str, str] = field(default_factory=dict)
    ignored: str = r"(?!)"
    also: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    positions: str | None = None

    @cached_property
    def patterns(self) -> tuple[tuple[re.Pattern[str], Name], ...]:
        """Their names as patterns, the layer's number a group."""
        return tuple((re.compile(re.escape(name.theirs).replace(r"\{\}", r"(\d+)")), name) for name in self.names)

    def find(self, theirs: str) -> tuple[Name, str] | None:
        """The entry of a tensor of theirs, and the layer's number in its name (empty: none)."""
        # In files that were converted from the first BERT models a norm's weight and bias are gamma and beta.
        theirs = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", re.sub(r"(?<=LayerNorm\.)beta$", "bias", theirs))
        for candidate in (theirs, self.prefix + theirs):
            for pattern, name in self.patterns:
                if match := pattern.fullmatch(candidate):
                    return name, (match.groups() or ("",))[0]
        return None

    def unread(self, config: Mapping[str, Any]) -> int:
        """How many rows of their table of positions no token reads, by their config. Errors: no id of padding."""
        if self.positions is None:
            return 0
        pad = config.get("pad_token_id", self.defaults["pad_token_id"])
        if type(pad) is not int or not 0 <= pad < MAX_SIZE:
            raise UserError(
                f"its positions count from the padding token's id, as in any {self.model_type} directory of Hugging "
                f"Face's, and pad_token_id is {'null' if pad is None else repr(pad)[:60]}"
            )
        return pad + 1

    def to_theirs(self, tensors: Arrays, architecture: str, *, unread: int = 0) -> dict[str, NDArray[Any]]:
        """Our tensors under their names in a class. Errors: ValueError for a tensor that the table does not have."""
        left, renamed = dict(tensors), dict[str, NDArray[Any]]()
        for name in sorted(self.names, key=lambda name: name.only is None):  # a class's own names come first
            if name.only not in (None, architecture):
                continue
            pattern = re.compile(re.escape(name.ours[0]).replace(r"\{\}", r"(\d+)"))
            for first in [ours for ours in left if pattern.fullmatch(ours)]:
                number = (pattern.fullmatch(first).groups() or ("",))[0]  # type: ignore[union-attr]
                parts = [left.pop(ours.format(number)) for ours in name.ours]
                whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
                renamed[name.theirs.format(number)] = whole.T if name.transposed else whole
        if left:
            raise ValueError(f"the table of names has nothing for {sorted(left)[0]}")
        if self.positions is not None:
            table = renamed[self.positions]
            renamed[self.positions] = np.concatenate([np.zeros((unread, *table.shape[1:]), table.dtype), table])
        return renamed

    def to_ours(self, tensors: Arrays, *, unread: int = 0) -> dict[str, NDArray[Any]]:
        """Their tensors under our names; a tensor that is stored only under the name of its tied copy is read from the
        copy, as in transformers. Errors: a tensor that the table does not have, a tied copy with other values."""
        renamed: dict[str, NDArray[Any]] = {}
        tensors = dict(tensors)
        for copied, original in self.tied.items():
            if copied in tensors and original not in tensors and original.removeprefix(self.prefix) not in tensors:
                tensors[original] = tensors[copied]
        for theirs in sorted(tensors):
            if re.fullmatch(self.ignored, theirs):
                continue
            if theirs in self.tied:
                self._check_tie(theirs, tensors)
                continue
            entry = self.find(theirs)
            if entry is None:
                raise UserError(f'has a tensor "{theirs}" that a {self.model_type} model of nlpkit does not have')
            name, number = entry
            whole = tensors[theirs].T if name.transposed else tensors[theirs]
            if not whole.ndim or whole.shape[0] % len(name.ours):
                raise UserError(f'tensor "{theirs}" cannot be split into {len(name.ours)} equal parts')
            parts = np.split(whole, len(name.ours)) if len(name.ours) > 1 else [whole]
            if name.theirs == self.positions:
                parts = [part[unread:] for part in parts]
            these = {ours.format(number): part for ours, part in zip(name.ours, parts, strict=True)}
            # Where a file has both, a class's own name counts.
            renamed = renamed | these if name.only else these | renamed
        return renamed

    def _check_tie(self, theirs: str, tensors: Arrays) -> None:
        original = self.tied[theirs]
        for candidate in (original, original.removeprefix(self.prefix)):
            if candidate in tensors and not np.array_equal(tensors[candidate], tensors[theirs]):
                raise UserError(f'"{theirs}" differs from "{candidate}"; nlpkit reads only models that tie the two')

    def to_config(self, config: Mapping[str, Any], *, unread: int = 0) -> dict[str, Any]:
        """Our fields as theirs."""
        fields = dict(self.fixed)
        for ours, theirs in self.fields.items():
            fields[theirs] = ACTIVATIONS[config[ours]][0] if ours == "activation" else config[ours]
        fields[self.fields["max_len"]] += unread
        return fields | {theirs: config[ours] for theirs, ours in self.also.items()}

    def from_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Their fields as ours. Errors: a value that our layers do not support."""
        for theirs, only in self.fixed.items():
            if config.get(theirs, only) != only:
                raise UserError(f"{theirs} is {config[theirs]!r}; nlpkit reads only {only!r}")
        fields: dict[str, Any] = {}
        for ours, theirs in self.fields.items():
            fields[ours] = config.get(theirs, self.defaults[theirs])
        if isinstance(fields["max_len"], int):
            fields["max_len"] -= self.unread(config)
        if fields["d_ff"] is None and isinstance(fields["d_model"], int):
            fields["d_ff"] = 4 * fields["d_model"]
        known = {theirs: ours for ours, names in ACTIVATIONS.items() for theirs in names}
        fields["activation"] = choose(known, str(fields["activation"]), field="activation")
        return fields
