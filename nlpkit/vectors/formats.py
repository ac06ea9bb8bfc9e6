"""word2vec's text and binary formats, which gensim, fastText, spaCy and others read.

Both begin with a line ``V D``. Text: a line for each word, the word and its D numbers with spaces between. Binary: the
word, a space, D little-endian 32-bit floats, a line feed. Neither can hold a word with white space in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.errors import UserError

_SPACE = re.compile(r"[ \t\n\r\v\f]")
_ROWS = 1 << 12  # rows written or read at a time
_MAX_WORD = 10_000  # bytes; a longer word means that the file is of another format

Floats = NDArray[np.float32]


def write_word2vec(path: Path, words: Sequence[str], vectors: NDArray[np.float32], *, binary: bool = False) -> None:
    """Write words and their vectors, atomically. An existing file is replaced (callers ask `check_target` first).

    Shape: vectors [V, D], row i for ``words[i]``. Text keeps nine digits, from which every 32-bit float comes back the
    same. Errors: a word that is empty or holds white space is a UserError, a full disk a RunError.
    """
    if len(words) != len(vectors):
        raise ValueError(f"{len(words)} words for {len(vectors)} vectors")
    for word in words:
        if not word or _SPACE.search(word):
            raise UserError(f"the word {word!r} cannot be written in word2vec's format, which separates by white space",
                            where=path, hint="such vectors can only be kept in nlpkit's own file")  # fmt: skip
    with atomic.writing(path) as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        (_write_binary if binary else _write_text)(file, words, vectors)


def _write_text(file: BinaryIO, words: Sequence[str], vectors: Floats) -> None:
    line = "%s" + " %.9g" * vectors.shape[1] + "\n"
    for start in range(0, len(words), _ROWS):
        rows = vectors[start : start + _ROWS].tolist()
        text = "".join([line % (word, *row) for word, row in zip(words[start : start + _ROWS], rows, strict=True)])
        file.write(text.encode("utf-8"))


def _write_binary(file: BinaryIO, words: Sequence[str], vectors: Floats) -> None:
    for start in range(0, len(words), _ROWS):
        rows = np.ascontiguousarray(vectors[start : start + _ROWS], "<f4")
        pieces = zip(words[start : start + _ROWS], rows, strict=True)
        file.write(b"".join([word.encode("utf-8") + b" " + row.tobytes() + b"\n" for word, row in pieces]))


def read_word2vec(path: Path, *, binary: bool = False) -> tuple[list[str], Floats]:
    """Words and their vectors [V, D].

    Errors: a UserError with the line (text) or the word's number (binary) for anything that is not this format: a wrong
    header, a short file, a number that is none, not UTF-8, the same word twice.
    """
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            rows, width = _header(path, file.readline(100), size)
            words, vectors = (_read_binary if binary else _read_text)(path, file, rows, width)
            if file.read(1).strip():
                raise UserError(f"goes on after the {rows:,} words its first line announces", where=path)
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    if len(set(words)) != rows:
        seen: set[str] = set()
        twice = next(word for word in words if word in seen or seen.add(word))  # type: ignore[func-returns-value]
        raise UserError(f'holds the word "{twice}" twice', where=path)
    if not np.isfinite(vectors).all():
        raise UserError("holds a number that is not finite", where=path)
    return words, vectors


def _header(path: Path, line: bytes, size: int) -> tuple[int, int]:
    """The checked first line: how many words, how wide."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        raise UserError("its first line is not 'WORDS WIDTH', as in word2vec's formats", where=f"{path}:1",
                        hint="GloVe's files have no such line; add it")  # fmt: skip
    rows, width = int(fields[0]), int(fields[1])
    if width < 1 or rows * (2 * width + 1) > size:  # a word and its numbers have two bytes each at the least
        raise UserError(f"announces {rows:,} words of width {width:,}, and is too short for them", where=path)
    return rows, width


def _read_text(path: Path, file: BinaryIO, rows: int, width: int) -> tuple[list[str], Floats]:
    words: list[str] = []
    vectors = np.empty((rows, width), np.float32)
    for number in range(rows):
        where = f"{path}:{number + 2}"
        fields = file.readline().rstrip().split(b" ")
        if len(fields) != width + 1:
            raise UserError(f"{len(fields):,} fields, expected a word and {width:,} numbers", where=where)
        try:
            vectors[number] = fields[1:]
        except ValueError:
            raise UserError("a field after the word is not a number", where=where) from None
        words.append(_decode(fields[0], where))
    return words, vectors


def _read_binary(path: Path, file: BinaryIO, rows: int, width: int) -> tuple[list[str], Floats]:
    words: list[str] = []
    vectors = np.empty((rows, width), np.float32)
    for number in range(rows):
        where = f"{path}: word {number + 1:,}"
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte or len(word) > _MAX_WORD:
                raise UserError("no space ends this word: the file is cut off or of another format", where=where)
            if byte != b"\n" or word:  # the line feed that ended the row before
                word += byte
        raw = file.read(4 * width)
        if len(raw) != 4 * width:
            raise UserError(f"has {len(raw):,} bytes of numbers, expected {4 * width:,}", where=where)
        vectors[number] = np.frombuffer(raw, "<f4")
        words.append(_decode(bytes(word), where))
    return words, vectors


def _decode(word: bytes, where: str) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("the word is not UTF-8", where=where) from None
