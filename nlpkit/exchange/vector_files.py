"""nlpkit import of word vectors: the files of `nlpkit.exchange.vector_formats`, read in blocks, so that memory grows
with the words only. Shapes: V words of the file, D width, n words of a block.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose
from nlpkit.data.packed import opened
from nlpkit.exchange.vector_formats import FASTTEXT, FASTTEXT_MAGIC, FORMATS, READ, Format
from nlpkit.vectors.file import KIND

_ROWS = 1 << 10  # of a block
_MAX_WORD = 10_000  # bytes; a longer word means that the file is of another format
_MAX_LINE = 1 << 20  # bytes, of a word and its numbers in text
_MAX_WIDTH = 1 << 16
_MAX_DIGITS = 64  # bytes of a number in text
_NO_TEXT = re.compile(rb"[^\t\n\r -~]")
_BOM = b"\xef\xbb\xbf"

Floats = NDArray[np.float32]


def import_vectors(run: Run, name: str, on_error: str) -> dict[str, Any]:
    """Read another tool's file into a vectors file; returns its summary.

    ``name`` is one of `FORMATS`. The order of its words stands for their frequency, since such files
    have no counts. Words are looked up in lower case too when none of them has a capital. Errors: those of `read`;
    nothing is left behind.
    """
    path = run.inputs[0].path
    blocks = read(path, FORMATS[name], on_error)
    words: list[str] = []
    width = 0
    try:
        with tempfile.TemporaryFile(dir=run.output.parent) as spool:
            for more, block in blocks:
                width = block.shape[1]
                words += more
                spool.write(np.ascontiguousarray(block, "<f4").data)
                events.emit("progress", label="reading", done=len(words), total=None, unit="words")
            spool.flush()
            vectors: NDArray[Any] = np.memmap(spool, "<f4", "r", shape=(len(words), width))
    except OSError as error:
        raise atomic.cannot_write(error, run.output) from None
    config = {
        "format": name,
        "dim": width,
        "lowercase": not any(word != word.lower() for word in words),
        "strip_accents": False,
    }
    summary = run.write({"vectors": vectors}, kind=KIND, config={**config, "words": words})
    return {**summary, "format": name, "vocab_size": len(words), "dim": width}


def detect(path: Path) -> str:
    """The name of a file's format, by its beginning. Errors: none fits."""
    with opened(path) as file:
        first = file.readline(_MAX_LINE)
        if first.startswith(FASTTEXT_MAGIC):
            return FASTTEXT
        first = first.removeprefix(_BOM)
        header = _header(first)
        if header is None:
            if _width(first):
                return "glove"
        elif 1 <= header[1] <= _MAX_WIDTH:
            start = file.read(_MAX_LINE)
            line, end, _ = start.partition(b"\n")
            if (end or len(start) < _MAX_LINE) and _width(line) and len(line.rstrip().split(b" ")) == header[1] + 1:
                return "word2vec"
            word, _, rest = start[: _MAX_WORD + 1].partition(b" ")
            numbers = start[len(word) + 1 :][: 4 * header[1]]
            if word and rest and len(numbers) == 4 * header[1] and _NO_TEXT.search(numbers):
                return "word2vec-binary"
    hint = f"--format says which it is ({', '.join(READ)}); a Hugging Face model is a folder"
    what = "does not begin as a file of word vectors does: 'WORDS WIDTH', or a word and its numbers"
    raise UserError(what, where=path, hint=hint)


def read(path: Path, form: Format, on_error: str = "error") -> Iterator[tuple[list[str], Floats]]:
    """Words and their vectors [n, D], block by block. Files may be packed (.gz, .zst).

    Errors: a UserError with the line (text) or the word's number (binary) for anything that is not this format: a wrong
    header, a short or long file, a number that is malformed or not finite, not UTF-8, the same word twice. With
    ``on_error`` "skip", single bad words are left out and a note counts them.
    """
    skip = choose({"error": False, "skip": True}, on_error, field="on-error")
    faults = Faults(path, skip, "word" if form.binary else "line")
    with opened(path) as file:
        if not form.header:
            rows = _glove_rows(file, faults)
        else:
            count, width = _checked_header(path, file)
            rows = (_binary_rows if form.binary else _text_rows)(file, count, width, faults)
        yield from _blocks(rows, path)
        faults.say()


@dataclass
class Faults:
    """Faults of single words: the first one raises, or (``skip``) one note counts all."""

    path: Path
    skip: bool
    unit: str
    count: int = 0
    first: str = ""
    seen: set[str] = field(default_factory=set)  # the words so far

    def at(self, number: int, what: str) -> None:
        """Add a fault of the line or word with this number."""
        if not self.skip:
            raise self.error(number, what, hint=f"--on-error skip leaves such {self.unit}s out")
        self.count += 1
        self.first = self.first or f"the first at {self.unit} {number:,}: {what}"

    def error(self, number: int, what: str, *, hint: str | None = None) -> UserError:
        where = f"{self.path}:{number}" if self.unit == "line" else f"{self.path}: word {number:,}"
        return UserError(what, where=where, hint=hint)

    def say(self) -> None:
        """After the last word."""
        if self.count:
            events.note(f"{self.path}: skipped {self.count:,} {self.unit}{'s' * (self.count > 1)}, {self.first}")


# A word that was read, and its numbers [D].
Row = tuple[str, Floats]


def _blocks(rows: Iterator[Row], path: Path) -> Iterator[tuple[list[str], Floats]]:
    """Rows in blocks. Errors: there is no row."""
    block = list(islice(rows, _ROWS))
    if not block:
        raise UserError("holds no words", where=path)
    while block:
        yield [word for word, _ in block], np.stack([numbers for _, numbers in block])
        block = list(islice(rows, _ROWS))


def _checked(number: int, raw: bytes, numbers: Floats, faults: Faults) -> Iterator[Row]:
    """The row, unless it has a fault."""
    try:
        word = raw.decode("utf-8")
    except UnicodeDecodeError:
        faults.at(number, "the word is not UTF-8")
        return
    if not word:
        faults.at(number, "has numbers and no word")
    elif word in faults.seen:
        faults.at(number, f'the word "{word}" comes twice')
    elif not np.isfinite(numbers).all():
        faults.at(number, "holds a number that is not finite")
    else:
        faults.seen.add(word)
        yield word, numbers


def _header(line: bytes) -> tuple[int, int] | None:
    """(V, D) of a header line, None for another line."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 16 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _checked_header(path: Path, file: BinaryIO) -> tuple[int, int]:
    header = _header(file.readline(100).removeprefix(_BOM))
    if header is None:
        raise UserError(
            "its first line is not 'WORDS WIDTH', as in word2vec's formats",
            where=f"{path}:1",
            hint="GloVe's files have no such line: --format glove",
        )
    count, width = header
    if not (count and 1 <= width <= _MAX_WIDTH):
        raise UserError(
            f"announces {count:,} words of width {width:,}, expected 1 to {_MAX_WIDTH:,} numbers for each",
            where=f"{path}:1",
        )
    return header


def _text_rows(file: BinaryIO, count: int, width: int, faults: Faults) -> Iterator[Row]:
    line = 1
    for raw in _lines(file, faults, begin=2):
        line += 1
        if line > count + 1:
            if not raw.strip():
                continue
            raise UserError(f"goes on after the {count:,} words its first line announces", where=faults.path)
        yield from _text_row(line, raw, width, faults, spaces=False)
    if line <= count:
        raise UserError(f"ends after {line - 1:,} of the {count:,} words its first line announces", where=faults.path)


def _glove_rows(file: BinaryIO, faults: Faults) -> Iterator[Row]:
    """The first line says the width. Some published files have words with spaces in them."""
    width: int | None = None
    for line, raw in enumerate(_lines(file, faults, begin=1), 1):
        if line == 1:
            raw = raw.removeprefix(_BOM)
        width = width or _width(raw)
        if not width:
            raise UserError("is not a word and its numbers", where=f"{faults.path}:{line}")
        yield from _text_row(line, raw, width, faults, spaces=True)


def _lines(file: BinaryIO, faults: Faults, *, begin: int) -> Iterator[bytes]:
    """Lines; the last needs no line end. Errors: one that is too long for a word and its numbers."""
    number = begin
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE and not line.endswith(b"\n"):
            raise faults.error(number, f"a line of more than {_MAX_LINE:,} bytes: is this text?")
        yield line
        number += 1


def _text_row(line: int, raw: bytes, width: int, faults: Faults, *, spaces: bool) -> Iterator[Row]:
    """The row of a line; nothing when it is left out."""
    fields = raw.rstrip().rsplit(b" ", width)
    word = fields[0]
    if len(fields) != width + 1 or (b" " in word and not (spaces and _number(word.rpartition(b" ")[2]) is None)):
        faults.at(line, f"{len(raw.split()):,} fields, expected a word and {width:,} numbers")
        return
    try:
        if b"_" in raw[len(word) :] or len(raw) > _MAX_WORD + _MAX_DIGITS * width:  # Python reads 1_000 as a thousand
            raise ValueError
        with np.errstate(over="ignore"):  # infinity is reported as a fault below
            numbers = np.array(fields[1:]).astype(np.float32)
    except ValueError:
        faults.at(line, "a field after the word is not a number")
        return
    yield from _checked(line, word, numbers, faults)


def _width(line: bytes) -> int:
    """How many numbers end a line that begins with a word; 0 for a line of another kind."""
    fields = line.rstrip().split(b" ")
    count = 0
    while count < len(fields) - 1 and _number(fields[-1 - count]) is not None:
        count += 1
    return count


def _number(text: bytes) -> float | None:
    try:
        return float(text) if b"_" not in text else None
    except ValueError:
        return None


def _binary_rows(file: BinaryIO, count: int, width: int, faults: Faults) -> Iterator[Row]:
    for number in range(1, count + 1):
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte or len(word) > _MAX_WORD:
                raise faults.error(number, "no space ends this word: the file is cut off or of another format")
            if byte != b"\n" or word:  # the line feed that ended the row before
                word += byte
        raw = file.read(4 * width)
        if len(raw) != 4 * width:
            raise faults.error(number, f"has {len(raw):,} bytes of numbers, expected {4 * width:,}")
        yield from _checked(number, bytes(word), np.frombuffer(raw, "<f4"), faults)
    if file.read(2).strip():
        raise UserError(f"goes on after the {count:,} words its first line announces", where=faults.path)
