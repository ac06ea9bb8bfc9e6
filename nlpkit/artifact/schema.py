"""What a file of each kind holds: one table of fields, types, ranges and lengths that must agree.

The digest says that a file is as it was written, not that whoever wrote it was nlpkit. So the metadata and the table of
tensors are checked against this table once, when a file is read; the values of a tensor when it is first used.
Fields that a kind does not name are ignored. Kinds that are not in the table belong to a newer nlpkit: they can be
inspected, but no command of this version reads them. What a tokenizer, a model or a task must be is checked where they
are built: nlpkit/tokenizers/described.py, nlpkit/models/base.py, nlpkit/tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import search
from nlpkit.artifact.safetensors import TensorInfo
from nlpkit.base.errors import UserError

Check = Callable[[Any], str | None]  # a value -> what was expected instead; None: valid
Array = NDArray[Any]
Rule = Callable[[Array, Mapping[str, int]], str | None]  # a tensor, the known sizes -> what is wrong

HINT = "nlpkit writes no such file; it was changed, and is not to be trusted"
_BLOCK = 1 << 22  # values checked at a time: token files may be larger than memory


# Values of the config.


def integer(least: int = 0, most: int = 1 << 53) -> Check:
    """An integer in a range."""
    return lambda value: None if type(value) is int and least <= value <= most else f"an integer from {least} to {most}"


def number(least: float = -math.inf, most: float = math.inf) -> Check:
    """A finite number in a range."""

    def check(value: Any) -> str | None:
        right = type(value) in (int, float) and abs(value) < 1e308 and least <= value <= most
        return None if right else f"a number from {least} to {most}" if least > -math.inf else "a number"

    return check


def text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def texts(value: Any) -> str | None:
    """A list of distinct texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return "a list of texts"
    return None if len(set(value)) == len(value) else "texts of which none is there twice"


def labels(value: Any) -> str | None:
    """A list of distinct texts, none of them empty or white space alone: no row of a labelled file has such a label."""
    if expected := texts(value):
        return expected
    return None if all(label.strip() for label in value) else "texts of which none is empty"


def maybe(check: Check) -> Check:
    """The same check, or null."""
    return lambda value: None if value is None else check(value)


def record(**members: Check) -> Check:
    """An object; these members are checked where they are present."""

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return "an object"
        for name, member in members.items():
            if name in value and (expected := member(value[name])):
                return f"an object whose {name} is {expected}"
        return None

    return check


def counts(value: Any) -> str | None:
    """An object that maps names to non-negative integers."""
    right = isinstance(value, dict) and all(integer()(item) is None for item in value.values())
    return None if right else "an object of integers"


# Values of tensors.


def ends(total: str, *, starts: bool = False) -> Rule:
    """Ends of consecutive parts that add up to ``total``; with ``starts`` the array begins with 0, the first start."""

    def rule(array: Array, sizes: Mapping[str, int]) -> str | None:
        last = 0
        for block in _blocks(array):
            steps = np.diff(block, prepend=np.int64(last))
            if block.min() < 0 or (steps < 0).any():
                return "does not ascend"
            last = int(block[-1])
        if starts and array.size and array[0] != 0:
            return "does not begin at 0"
        return None if last == sizes[total] else f"ends at {last:,}, and there are {sizes[total]:,}"

    return rule


def below(limit: str | None = None, least: int = 0) -> Rule:
    """Integers from ``least`` up to a size."""

    def rule(array: Array, sizes: Mapping[str, int]) -> str | None:
        for block in _blocks(array):
            low, high = int(block.min()), int(block.max())
            if low < least:
                return f"has the number {low:,}, expected at least {least:,}"
            if limit is not None and high >= sizes[limit]:
                return f"has the number {high:,}, expected less than {sizes[limit]:,}"
        return None

    return rule


def finite(array: Array, sizes: Mapping[str, int]) -> str | None:
    return None if all(np.isfinite(block).all() for block in _blocks(array)) else "has values that are not numbers"


def _blocks(array: Array) -> Iterator[Array]:
    flat = array.reshape(-1)
    return (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))


@dataclass(frozen=True)
class Tensor:
    """One tensor: its types, its shape (sizes by name: a field of the config, or one that the first tensor sets) and
    the rule for its values."""

    dtypes: tuple[str, ...]
    shape: tuple[str, ...]
    rule: Rule | None = None
    needed: bool = True


@dataclass(frozen=True)
class Kind:
    """``config`` checks the fields that are present, ``needed`` names those that must be. ``sizes`` are lengths of
    lists in the config, ``more`` sizes that are another size plus a constant."""

    config: Mapping[str, Check] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    sizes: Mapping[str, str] = field(default_factory=dict)  # name of the size -> list of the config
    more: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    tokenizer: bool = False  # whether the file must hold one


F32, I64, ID = ("F32",), ("I64",), ("U16", "U32")
_SETTINGS: dict[str, Check] = {
    "words": texts,
    "window": integer(1),
    "min_count": integer(),
    "lowercase": maybe(flag),
    "n_cells": integer(),
    "n_words": integer(),
    "phrases": maybe(integer()),
    "phrase_threshold": maybe(number()),
    "dim": integer(1),
    "subwords": maybe(text),
    "buckets": maybe(integer(1, 1 << 31)),
    "epochs": integer(),
    "seed": integer(-(1 << 63), 1 << 63),
}
_TASK = record(
    name=text,
    labels=labels,
    pooling=text,
    text=text,
    pair=maybe(text),
    label=text,
    max_len=maybe(integer(1)),
    bias=flag,
)
_FACTS = record(
    layers=integer(1),
    width=integer(1),
    examples=integer(),
    tokens=integer(),
    pretrained=flag,
    pooling=maybe(text),
    documents=maybe(integer()),
    vectors=maybe(flag),
)
TRAINING = record(
    objective=text,
    cut=maybe(text),
    steps=integer(),
    best_step=maybe(integer()),
    score=maybe(number()),
    facts=maybe(_FACTS),
)

KINDS: dict[str, Kind] = {
    "tokenizer": Kind({"kind": text, "vocab_size": integer(1), "fingerprint": text}, tokenizer=True),
    "tokens": Kind(
        {name: integer() for name in ("vocab_size", "n_tokens", "n_sentences", "n_documents", "n_bytes", "n_words")},
        needed=("vocab_size", "n_tokens", "n_sentences", "n_documents", "n_bytes"),
        tensors={
            "tokens": Tensor(ID, ("n_tokens",), below("vocab_size")),
            "sentence_ends": Tensor(I64, ("n_sentences",), ends("n_tokens")),
            "document_ends": Tensor(I64, ("n_documents",), ends("n_sentences")),
        },
        tokenizer=True,
    ),
    "cooccurrence": Kind(
        _SETTINGS,
        needed=("words",),
        tensors={
            "offsets": Tensor(I64, ("V + 1",), ends("N", starts=True)),
            "columns": Tensor(ID, ("N",), below("V")),
            "values": Tensor(F32, ("N",), finite),
            "counts": Tensor(I64, ("V",), below(least=0)),
        },
        sizes={"V": "words"},
        more={"V + 1": ("V", 1)},
    ),
    "vectors": Kind(
        _SETTINGS,
        needed=("words",),
        tensors={
            "vectors": Tensor(F32, ("V", "D")),
            "counts": Tensor(I64, ("V",), below(least=0), needed=False),
            "context": Tensor(F32, ("V", "D"), needed=False),
            "nodes": Tensor(F32, ("V - 1", "D"), needed=False),
            "bias": Tensor(F32, ("V",), needed=False),
            "context_bias": Tensor(F32, ("V",), needed=False),
            "ngrams": Tensor(F32, ("buckets", "D"), needed=False),
        },
        sizes={"V": "words"},
        more={"V - 1": ("V", -1)},
    ),
    "model": Kind(
        {
            "family": text,
            "heads": texts,
            "task": maybe(_TASK),
            "training": maybe(TRAINING),
            "search": maybe(search.expected),
        }
    ),
    "embeddings": Kind(
        {"n_texts": integer(), "d_model": integer(1)}, tensors={"embeddings": Tensor(F32, ("n_texts", "d_model"))}
    ),
    "predictions": Kind(
        {"top": integer()},
        tensors={
            "starts": Tensor(I64, ("n + 1",), ends("M", starts=True)),
            "ids": Tensor(("I32",), ("M", "K"), below(least=0), needed=False),
            "logs": Tensor(F32, ("M", "K"), needed=False),
            "scores": Tensor(F32, ("M", "C"), needed=False),
        },
    ),
    "resume": Kind(
        {
            **dict.fromkeys(("step", "stale", "steady", "epoch", "round"), integer()),
            **dict.fromkeys(("best_step", "best_epoch"), maybe(integer())),
            **dict.fromkeys(("loss", "lowest", "best_score"), maybe(number())),
            "position": counts,
            "stopped": flag,
            "scale": number(0),
        }
    ),
}


def check(kind: str, config: Mapping[str, Any], tokenizer: Any, tensors: Mapping[str, TensorInfo], where: Path) -> None:
    """Check a file's config and table of tensors. Errors: the first field or tensor that its kind does not allow."""
    schema = KINDS.get(kind)
    if schema is None:
        return
    for name in schema.needed:
        if name not in config:
            raise bad(f'a {kind} file whose config has no "{name}"', where)
    for name, value in config.items():
        if name in schema.config and (expected := schema.config[name](value)):
            raise bad(f'its config has the "{name}" {ascii(value)[:60]}, expected {expected}', where)
    if schema.tokenizer and tokenizer is None:
        raise bad(f"a {kind} file without a tokenizer", where)
    known = sizes(kind, config)
    for name, tensor in schema.tensors.items():
        if name in tensors:
            _check_form(name, tensor, tensors[name], known, where)
        elif tensor.needed:
            raise bad(f'a {kind} file without the tensor "{name}"', where)


def sizes(kind: str, config: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a config sets."""
    schema = KINDS[kind]
    known = {name: value for name, value in config.items() if type(value) is int}
    known |= {name: len(config[source]) for name, source in schema.sizes.items()}
    return known | {name: known[source] + plus for name, (source, plus) in schema.more.items()}


def _check_form(name: str, tensor: Tensor, info: TensorInfo, known: dict[str, int], where: Path) -> None:
    """Check type and shape; add the sizes that this tensor sets to ``known``."""
    expected = [known.get(size, size) for size in tensor.shape]
    same = len(info.shape) == len(expected) and all(
        isinstance(size, str) or size == actual for size, actual in zip(expected, info.shape, strict=True)
    )
    if info.dtype not in tensor.dtypes or not same:
        form = f"{' or '.join(tensor.dtypes)} [{', '.join(map(str, expected))}]"
        raise bad(f'its tensor "{name}" is {info.dtype} {list(info.shape)}, expected {form}', where)
    known |= {size: actual for size, actual in zip(tensor.shape, info.shape, strict=True) if size not in known}


def check_values(
    kind: str, config: Mapping[str, Any], name: str, array: Array, tensors: Mapping[str, TensorInfo], where: Path
) -> None:
    """Check the values of one tensor of a file that passed `check`."""
    schema = KINDS.get(kind)
    tensor = None if schema is None else schema.tensors.get(name)
    if schema is None or tensor is None or tensor.rule is None:
        return
    known = sizes(kind, config)
    for other, form in schema.tensors.items():
        if other in tensors:
            known = dict(zip(form.shape, tensors[other].shape, strict=True)) | known
    if what := tensor.rule(array, known):
        raise bad(f'its tensor "{name}" {what}', where)


def bad(what: str, where: Path | None) -> UserError:
    """The error for content that nlpkit has not written."""
    return UserError(what, where=where, hint=HINT)
