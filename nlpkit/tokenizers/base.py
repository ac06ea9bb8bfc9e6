"""What a tokenizer is: text -> ids -> text, and one JSON value that holds everything."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.canonical import canonical
from nlpkit.base.errors import UserError

if TYPE_CHECKING:
    from nlpkit.tokenizers.fast import Plan

Offsets = NDArray[np.int64]  # [T, 2]: where each token begins in its text and where it ends, in characters

# What a special piece is for. bos and eos may be the same pieces as cls and sep.
ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
DEFAULT_SPECIAL = {
    "pad": "[PAD]",
    "unk": "[UNK]",
    "cls": "[CLS]",
    "sep": "[SEP]",
    "mask": "[MASK]",
    "bos": "[CLS]",
    "eos": "[SEP]",
}


class Tokenizer(ABC):
    """Pieces and their ids. ``special`` maps a role to its piece; ids are indices into ``pieces``."""

    kind: ClassVar[str]
    lines_apart: ClassVar[bool] = True  # whether the lines of a text have the same ids apart, with `line_end` between
    finds_special: ClassVar[bool] = False  # whether a special piece written in a text is that token, or ordinary text

    def __init__(self, pieces: Sequence[str], special: dict[str, str]) -> None:
        self.pieces = list(pieces)
        self.special = dict(special)
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}

    @property
    def plain(self) -> Tokenizer:
        """The same tokenizer, to which a special piece written in a text is ordinary text."""
        return self

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def role(self, name: str) -> int | None:
        """The id of a special role, None when this tokenizer has no such piece."""
        piece = self.special.get(name)
        return None if piece is None else self.ids[piece]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON: two tokenizers with equal fingerprints are the same."""
        return hashlib.sha256(canonical(self.to_json()).encode()).hexdigest()

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything, as one JSON value with ``kind``; `nlpkit.tokenizers.from_json` is the way back."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The way back from `to_json`, whose fields are the arguments of the class."""
        try:
            return cls(**{name: item for name, item in value.items() if name != "kind"})
        except (TypeError, KeyError) as error:
            raise UserError(f"does not describe a {cls.kind} tokenizer: {error}", where="tokenizer") from None

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of each text, without framing tokens. A special piece written in a text is ordinary text, unless
        ``finds_special``."""

    def plan(self) -> Plan | None:
        """What compiled code has to know to give the same ids (fast.py); None where there is none for this kind."""
        return None

    def encode(self, text: str) -> NDArray[np.int32]:
        return self.encode_batch([text])[0]

    @cached_property
    def line_end(self) -> NDArray[np.int32]:
        """The ids between two lines of a document: those of a line end where the vocabulary can say it, else of a
        space, else none. The ids of stripped lines with these between them are the ids of the lines joined by it,
        where ``lines_apart``: no kind of ours has a word, a merge or a normalisation that crosses a line end."""
        unknown = self.role("unk")
        for between in ("\n", " "):
            ids = self.encode(between)
            if unknown is None or unknown not in ids:
                return ids
        return np.zeros(0, np.int32)

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special pieces are left out."""
