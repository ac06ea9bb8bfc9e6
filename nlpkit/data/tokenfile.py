"""Token files as one long text: memory-mapped, one or several, all of one tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.errors import UserError
from nlpkit.tokenizers import from_json
from nlpkit.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class TokenFiles:
    """``sentence_ends`` [S]: each sentence's last token plus one; ``document_ends`` [D]: each document's last sentence
    plus one. Both count through all files."""

    parts: tuple[NDArray[Any], ...]
    sentence_ends: Ids
    document_ends: Ids
    tokenizer: Tokenizer
    name: str

    @staticmethod
    def open(paths: Sequence[Path]) -> TokenFiles:
        """Errors: no file, a file of another kind, files of different tokenizers."""
        if not paths:
            raise UserError("no token file is given", hint="nlpkit tokens makes one from a corpus")
        found = [file.read(path, kind="tokens") for path in paths]
        tokenizers = [from_json(item.tokenizer or {}) for item in found]
        for item, tokenizer in zip(found[1:], tokenizers[1:], strict=True):
            if tokenizer.fingerprint != tokenizers[0].fingerprint:
                raise UserError(
                    f"was made with another tokenizer than {paths[0].name}",
                    where=item.path,
                    hint="tokenise both with the same --tokenizer",
                )
        sentence_ends, document_ends, tokens, sentences = [], [], 0, 0
        for item in found:
            sentence_ends.append(item.array("sentence_ends") + tokens)
            document_ends.append(item.array("document_ends") + sentences)
            tokens += item.array("tokens").size
            sentences += item.array("sentence_ends").size
        return TokenFiles(
            tuple(item.array("tokens") for item in found), np.concatenate(sentence_ends),
            np.concatenate(document_ends), tokenizers[0], paths[0].name,
        )  # fmt: skip

    @staticmethod
    def from_arrays(tokens: NDArray[Any], sentence_ends: Ids, document_ends: Ids, tokenizer: Tokenizer) -> TokenFiles:
        """For tests and notebooks."""
        return TokenFiles((tokens,), np.asarray(sentence_ends), np.asarray(document_ends), tokenizer, "arrays")

    @cached_property
    def starts(self) -> Ids:
        """First token of each file, and one past the last."""
        return np.cumsum([0, *(part.size for part in self.parts)])

    @property
    def n_tokens(self) -> int:
        return int(self.starts[-1])

    @property
    def n_sentences(self) -> int:
        return len(self.sentence_ends)

    @property
    def n_documents(self) -> int:
        return len(self.document_ends)

    @cached_property
    def document_token_ends(self) -> Ids:
        """[D]: each document's last token plus one."""
        return np.concatenate([[0], self.sentence_ends])[self.document_ends].astype(np.int64)

    def tokens(self, start: int, stop: int) -> Ids:
        """Ids of the tokens from ``start`` up to ``stop``."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        if first < len(self.parts) and stop <= self.starts[first + 1]:
            return np.asarray(self.parts[first][start - self.starts[first] : stop - self.starts[first]], np.int64)
        return self.take(np.arange(start, stop))

    def take(self, index: Ids) -> Ids:
        """Ids of the tokens at these places, any shape."""
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][index], np.int64)
        owner = np.searchsorted(self.starts, index, side="right") - 1
        out = np.empty(index.shape, np.int64)
        for number, part in enumerate(self.parts):
            here = owner == number
            out[here] = part[index[here] - self.starts[number]]
        return out
