"""Corpora: files of text as documents of sentences, one at a time.

Plain text: an empty line separates documents, each other line is a sentence (or a paragraph; BERT's convention). JSONL,
CSV, TSV, Parquet: a row's field is a document, its lines are sentences. Which form a file has: forms.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from nlpkit.base.errors import UserError
from nlpkit.data import forms
from nlpkit.data.readers import ROWS, Faults, blocks, has_columns, text_of

PART = 1 << 20  # characters of a document that are yielded together


@dataclass(frozen=True)
class Document:
    """Sentences without line ends, none of them empty. A very long document comes in parts, so that a text of any size
    can be read: ``ends`` is False for all parts but the last."""

    sentences: list[str]
    ends: bool = True

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)


FIELD = "text"  # the column that is read when none is named


def documents(
    paths: Sequence[Path], *, field: str = FIELD, on_error: str = "error", format: str | None = None
) -> Iterator[Document]:
    """Every document of the files, in order; one without text is left out.

    Errors: UserError with file and line for what is not UTF-8, malformed, or without the field; with
    ``on_error="skip"`` such lines are left out, counted and reported. A field, where all files are plain text.
    """
    check_field(paths, field, format)
    for path in paths:
        faults = forms.faults_of(path, on_error)
        with forms.reading(path, faults, format=format, columns=(field,)) as (form, file):
            if form in ROWS:
                for line, row in ROWS[form](file, faults):
                    if not has_columns(row, {"--field": field}, line, faults):
                        continue
                    text = text_of(row, field, line, faults)
                    if text is not None and (sentences := _sentences(text)):
                        yield Document(sentences)
            else:
                yield from _plain(file, faults)
        faults.say()


def check_field(paths: Sequence[Path], field: str, format: str | None) -> None:
    """Errors: a field where all files are plain text."""
    if field != FIELD and not forms.has_rows(paths, format, (field,)):
        forms.refuse_column(field, forms.faults_of(paths[0], "error").path)


def _sentences(text: str) -> list[str]:
    return [part for line in text.split("\n") if (part := line.strip())]


def _plain(file: BinaryIO, faults: Faults) -> Iterator[Document]:
    sentences: list[str] = []
    size = 0
    for text in map(str.strip, chain.from_iterable(blocks(file, faults))):
        if size >= PART and text:  # here, not when it became long: a part that is not the last has a successor
            yield Document(sentences, ends=False)
            sentences, size = [], 0
        if text:
            sentences.append(text)
            size += len(text)
        elif sentences:
            yield Document(sentences)
            sentences, size = [], 0
    if sentences:
        yield Document(sentences)


def need_text(count: int, paths: Sequence[Path]) -> None:
    """Errors: a corpus without text."""
    if not count:
        names = ", ".join(str(path) for path in paths)
        raise UserError("holds no text", where=names, hint="give a file with at least one line that is not empty")
