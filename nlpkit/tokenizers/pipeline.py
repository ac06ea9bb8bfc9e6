"""A tokenizer.json that none of our kinds repeats, run by the tokenizers library.

LLaMA 3, XLM-RoBERTa, Qwen, ModernBERT: the file is stored unchanged, so that export returns it; ids, offsets and
decoded text are the library's. Its version is recorded beside those of other packages that make a result's bytes.

Unlike our kinds, it finds added tokens in a text, special ones too, as the library does; ``split_special`` (the
setting split_special_tokens of transformers) makes the special ones ordinary text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.tokenizers import document as documents
from nlpkit.tokenizers.base import Offsets, Tokenizer
from nlpkit.tokenizers.library import guarded, open_library


class Pipeline(Tokenizer):
    """``document`` is the text of tokenizer.json; pieces and their ids are the library's. ``chat_template`` is kept
    for export."""

    kind: ClassVar[str] = "pipeline"
    lines_apart: ClassVar[bool] = False  # in some a full stop and a line end form one piece

    def __init__(
        self, document: str, special: dict[str, str], split_special: bool = False, chat_template: Any = None
    ) -> None:
        if not isinstance(document, str) or not isinstance(special, dict):
            raise TypeError("document is a text and special a map")
        self._library = open_library(document)
        self._library.encode_special_tokens = bool(split_special)
        ids: dict[str, int] = self._library.get_vocab(with_added_tokens=True)
        if not ids or max(ids.values()) >= documents.MAX_ID:
            raise documents.refused("its ids are none or too large")
        pieces = [f"[no piece {number}]" for number in range(max(ids.values()) + 1)]
        for piece, number in ids.items():
            pieces[number] = piece
        super().__init__(pieces, special)
        self.ids = ids
        for role, piece in special.items():
            if piece not in ids:
                raise UserError(f"its {role} token {piece!r} has no id")
        self.document, self.split_special, self.chat_template = document, bool(split_special), chat_template

    def to_json(self) -> dict[str, Any]:
        extra = {} if self.chat_template is None else {"chat_template": self.chat_template}
        return {
            "kind": self.kind,
            "document": self.document,
            "special": self.special,
            "split_special": self.split_special,
            **extra,
        }

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        with guarded("the tokenizers library cannot encode a text"):
            encodings = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(item.ids, np.int32) for item in encodings]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int32], Offsets]]:
        with guarded("the tokenizers library cannot encode a text"):
            encodings = self._library.encode_batch(list(texts), add_special_tokens=False)
        return [(np.array(item.ids, np.int32), np.array(item.offsets, np.int64).reshape(-1, 2)) for item in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        with guarded("the tokenizers library cannot decode ids"):
            text: str = self._library.decode([int(number) for number in ids], skip_special_tokens=True)
        return text
