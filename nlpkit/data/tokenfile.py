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
from nlpkit.artifact.safetensors import check_whole
from nlpkit.base.errors import UserError
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
            raise UserError("expected at least one token file", hint="nlpkit tokens makes one from a corpus")
        artifacts = [file.read(path, kind="tokens") for path in paths]
        tokenizers = [from_json(item.tokenizer or {}, where=item.path) for item in artifacts]
        for item, tokenizer in zip(artifacts[1:], tokenizers[1:], strict=True):
            if tokenizer.fingerprint != tokenizers[0].fingerprint:
                raise UserError(
                    f"was made with another tokenizer than {paths[0].name}",
                    where=item.path,
                    hint="tokenise both with the same --tokenizer",
                )
        if len(artifacts) == 1:  # then nothing of a file larger than memory is copied
            ends = artifacts[0].array("sentence_ends"), artifacts[0].array("document_ends")
        else:
            ends = (
                _concatenated(artifacts, "sentence_ends", "tokens"),
                _concatenated(artifacts, "document_ends", "sentence_ends"),
            )
        return TokenFiles(tuple(item.array("tokens") for item in artifacts), *ends, tokenizers[0], paths[0].name)

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
        ends = self.sentence_ends[np.maximum(self.document_ends, 1) - 1] if self.n_sentences else self.document_ends
        return np.where(self.document_ends > 0, ends, 0).astype(np.int64)

    def tokens(self, start: int, stop: int) -> Ids:
        """Ids of the tokens from ``start`` up to ``stop``."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        if first < len(self.parts) and stop <= self.starts[first + 1]:
            check_whole(self.parts[first], self.name)
            return np.asarray(self.parts[first][start - self.starts[first] : stop - self.starts[first]], np.int64)
        return self.take(np.arange(start, stop))

    def take(self, index: Ids) -> Ids:
        """Ids of the tokens at these indices, any shape."""
        for part in self.parts:
            check_whole(part, self.name)
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][index], np.int64)
        part_of = np.searchsorted(self.starts, index, side="right") - 1
        out = np.empty(index.shape, np.int64)
        for number, part in enumerate(self.parts):
            here = part_of == number
            out[here] = part[index[here] - self.starts[number]]
        return out


def _concatenated(artifacts: Sequence[file.Artifact], ends: str, counted: str) -> Ids:
    """The ``ends`` of all files, where the entries of ``counted`` are numbered through all files."""
    before = np.cumsum([0, *(item.array(counted).size for item in artifacts)])
    return np.concatenate([item.array(ends) + start for item, start in zip(artifacts, before[:-1], strict=True)])
