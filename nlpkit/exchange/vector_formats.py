"""Other tools' files of word vectors: their names, and writing them. `nlpkit.exchange.vector_files` reads them.

word2vec's begin with a line ``V D``. Text: a line for each word, the word and its D numbers with spaces between.
Binary: the word, a space, D little-endian 32-bit floats, a line feed. GloVe's file is the text without the first line.
A word with white space in it could not be read back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.base.errors import UserError

_SPACE = re.compile(r"[ \t\n\r\v\f]")
_ROWS = 1 << 12  # rows written at a time

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """Whether a file begins with ``V D``, and whether its numbers are bytes or digits."""

    header: bool
    binary: bool


FORMATS = {
    "word2vec": Format(header=True, binary=False),
    "word2vec-binary": Format(header=True, binary=True),
    "glove": Format(header=False, binary=False),
}
FASTTEXT = "fasttext"  # read only, and in another way: nlpkit/exchange/fasttext.py
FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
READ = (*FORMATS, FASTTEXT)


def write(path: Path, words: Sequence[str], vectors: Floats, form: Format) -> None:
    """Write words and their vectors, atomically. An existing file is replaced (callers call `check_target` first).

    Shape: vectors [V, D], row i for ``words[i]``. Text has nine digits, from which every 32-bit float comes back the
    same. Errors: a word that is empty or holds white space is a UserError, a full disk a RunError.
    """
    if len(words) != len(vectors):
        raise ValueError(f"{len(words)} words for {len(vectors)} vectors")
    for word in words:
        if not word or _SPACE.search(word):
            raise UserError(
                f"the word {word!r} cannot be written in this format, which separates by white space",
                where=path,
                hint="only nlpkit's own file can hold such words",
            )
    with atomic.writing(path) as file:
        if form.header:
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        (_write_binary if form.binary else _write_text)(file, words, vectors)


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
