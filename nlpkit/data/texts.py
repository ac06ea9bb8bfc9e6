"""A corpus, or a shard of it, in batches: as documents, or as lines of bytes for compiled code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.data import forms
from nlpkit.data.corpus import Document, check_field, documents
from nlpkit.data.readers import raw_blocks

BATCH = 1 << 20  # characters a worker tokenises at a time


@dataclass(frozen=True)
class Texts:
    """The documents of a corpus, or of a shard of it, in either of two forms."""

    paths: Sequence[Path]
    field: str
    on_error: str
    part: tuple[int, int] = (0, 1)
    format: str | None = None

    def batches(self) -> Iterator[list[Document]]:
        """In lists of about `BATCH` characters."""
        corpus = documents(self.paths, field=self.field, on_error=self.on_error, format=self.format)
        return batches(shard(corpus, self.part))

    def lines(self) -> Iterator[tuple[bytes, NDArray[np.int64] | None]]:
        """As UTF-8 lines, and where documents end as `document_ends`; None: at each line without text."""
        check_field(self.paths, self.field, self.format)
        whole = self.part == (0, 1)
        for paths in [[path] for path in self.paths] if whole else [self.paths]:
            path = Path(paths[0])
            if whole and forms.form_of(path, self.format, (self.field,)) == forms.TEXT:
                faults = forms.faults_of(path, self.on_error)
                with forms.reading(path, faults, format=self.format, columns=(self.field,)) as (_, file):
                    for raw in raw_blocks(file, faults):
                        yield raw, None
                faults.say()
                yield b"\n", None  # the end of a file ends a document
                continue
            corpus = documents(paths, field=self.field, on_error=self.on_error, format=self.format)
            for batch in batches(shard(corpus, self.part)):
                text = "".join(f"{sentence}\n" for document in batch for sentence in document.sentences)
                yield text.encode(), document_ends(batch)


def document_ends(batch: list[Document]) -> NDArray[np.int64]:
    counts = np.cumsum([len(document.sentences) for document in batch])
    return counts[[document.ends for document in batch]]


def batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about `BATCH` characters."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(map(len, document.sentences))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def parse_shard(text: str | None) -> tuple[int, int]:
    """The text 3/16 -> (2, 16); None is the whole, (0, 1). Errors: no k/n with 1 <= k <= n."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", text)
    if not match or int(match[1]) > int(match[2]):
        raise UserError(f'shard "{text}" is not k/n with 1 <= k <= n', hint="the third of sixteen is 3/16")
    return int(match[1]) - 1, int(match[2])


def shard(documents: Iterator[Document], part: tuple[int, int]) -> Iterator[Document]:
    """The documents of a shard: every n-th."""
    number = 0
    for document in documents:
        if number % part[1] == part[0]:
            yield document
        number += document.ends
