"""Corpora: files of text as documents of sentences, one at a time.

Plain text: an empty line separates documents, each other line is a sentence (or a paragraph; BERT's convention). JSONL,
CSV, TSV, Parquet: a row's field is a document, its lines are sentences. All may be packed (.gz, .zst).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nlpkit.base.errors import UserError
from nlpkit.data.packed import suffixes
from nlpkit.data.readers import ROWS, Faults, blocks, text_of

PART = 1 << 20  # characters of a document that are handed on together


@dataclass(frozen=True)
class Document:
    """Sentences without line ends, none of them empty. A very long document comes in parts, so that a text of any size
    can be read: ``ends`` is False for all parts but the last."""

    sentences: list[str]
    ends: bool = True

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)


def documents(paths: Sequence[Path], *, field: str = "text", on_error: str = "error") -> Iterator[Document]:
    """Every document of the files, in order; what holds no text is no document.

    Errors: UserError with file and line for what is not UTF-8, malformed, or without the field; with
    ``on_error="skip"`` such lines are left out, counted and said. A file suffix that is not known is plain text.
    """
    for path in paths:
        faults = Faults(Path(path), on_error)
        kind = suffixes(Path(path))[0]
        if kind in ROWS:
            for line, row in ROWS[kind](Path(path), faults):
                text = text_of(row, field, line, faults)
                if text is not None and (sentences := _sentences(text)):
                    yield Document(sentences)
        else:
            yield from _plain(Path(path), faults)
        faults.say()


def _sentences(text: str) -> list[str]:
    return [part for line in text.split("\n") if (part := line.strip())]


def _plain(path: Path, faults: Faults) -> Iterator[Document]:
    sentences: list[str] = []
    size = 0
    for text in map(str.strip, chain.from_iterable(blocks(path, faults))):
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
    """Errors: a corpus in which nothing was found."""
    if not count:
        names = ", ".join(str(path) for path in paths)
        raise UserError("holds no text", where=names, hint="give a file with at least one line that is not empty")
