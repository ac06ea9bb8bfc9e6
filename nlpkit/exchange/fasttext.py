"""nlpkit import of fastText's model.bin (Bojanowski et al. 2017): words, and n-grams for unseen words.

The file, little-endian: magic and version (int32 each); twelve int32 and a double of training arguments; the dictionary
(int32 size, words, labels; int64 tokens, pruned n-grams; for each word its bytes, a NUL, int64 count, int8 type); a
byte that says whether the matrix is quantised; int64 rows, columns; float32 rows of words, then of n-gram buckets. The
output matrix behind it is not read.

gensim reads such files too, but does not check them: it reads a file that ends within a word for ever, allocates what
the header announces, and rewrites words that are not UTF-8. Here each size is compared with the file's before anything
of that size is allocated. Tests hold all vectors equal to gensim's (tests/exchange/test_fasttext.py).

Shapes: V words, B buckets, D width.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose
from nlpkit.data.packed import opened, suffixes
from nlpkit.exchange.vector_files import Faults
from nlpkit.exchange.vector_formats import FASTTEXT, FASTTEXT_MAGIC
from nlpkit.vectors.file import KIND
from nlpkit.vectors.text.subwords import grams

_ARGUMENTS = struct.Struct("<12id")  # behind magic and version
_DICTIONARY = struct.Struct("<3i2q")
_ENTRY = struct.Struct("<qb")  # behind a word's NUL
_MATRIX = struct.Struct("<B2q")
_END_OF_SENTENCE = "</s>"  # a word of fastText's own, which has no n-grams
_VERSIONS = (11, 12)
_SUPERVISED = 3
_MOST_WIDTH, _MOST_BUCKETS, _MOST_WORD = 1 << 16, 1 << 31, 10_000
_BLOCK = 1 << 12  # words whose means are computed together

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Header:
    """The header of a file. Its matrix begins with ``entries`` rows for words; ``rows`` [V] are those of the words that
    were read. ``least`` and ``most`` are the lengths of n-grams (0: none)."""

    dim: int
    buckets: int
    least: int
    most: int
    entries: int
    words: list[str]
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]


def import_fasttext(run: Run, on_error: str) -> dict[str, Any]:
    """Read fastText's file into a vectors file; returns its summary.

    A word's vector is the mean of its own row and its n-grams', as fastText computes it; the buckets are saved,
    so that an unseen word has the vector that fastText gives it. Words are looked up as they are written. With
    ``on_error`` "skip", words that are empty, not UTF-8 or repeated are left out and a note counts them.
    Errors: UserError for such a word, for a supervised, quantised or pruned model, and for a file that is cut or does
    not hold what its header announces; nothing is left behind.
    """
    path = run.inputs[0].path
    faults = Faults(path, choose({"error": False, "skip": True}, on_error, field="on-error"), "word")
    with opened(path) as file:
        header = read_header(path, file, faults)
        raw = _matrix(path, file, header.entries + header.buckets, header.dim, run.output)
    vectors = _means(header, raw)
    config: dict[str, Any] = {"format": FASTTEXT, "dim": header.dim, "lowercase": False, "words": header.words}
    tensors: dict[str, Any] = {"vectors": vectors, "counts": header.counts}
    if header.most:
        tensors["ngrams"] = raw[header.entries :]
        config |= {"subwords": f"{header.least}-{header.most}", "buckets": header.buckets}
    for start in range(0, len(raw), _BLOCK):
        if not np.isfinite(raw[start : start + _BLOCK]).all():
            raise UserError("holds a number that is not finite", where=path)
    faults.say()
    summary = run.write(tensors, kind=KIND, config=config)
    return {**summary, "format": FASTTEXT, "vocab_size": len(vectors), "dim": header.dim}


def read_header(path: Path, file: BinaryIO, faults: Faults) -> Header:
    """All that is before the matrix. Errors: a UserError that says what is wrong or cannot be read."""
    magic, version = struct.unpack("<4si", _exactly(path, file, 8))
    if magic != FASTTEXT_MAGIC:
        raise UserError("does not begin as a model.bin of fastText does", where=path)
    if version not in _VERSIONS:
        raise UserError(f"is of version {version} of fastText's format, expected 11 or 12", where=path)
    dim, _, _, _, _, _, _, model, buckets, least, most, _, _ = _ARGUMENTS.unpack(_exactly(path, file, _ARGUMENTS.size))
    if model == _SUPERVISED:
        raise UserError(
            "is a supervised model (a classifier), whose vectors are not those of words",
            where=path,
            hint="models of skipgram and cbow can be imported",
        )
    if not 1 <= dim <= _MOST_WIDTH or not 0 <= buckets < _MOST_BUCKETS:
        raise UserError(
            f"announces width {dim:,} and {buckets:,} buckets, expected 1 to {_MOST_WIDTH:,} and less than "
            f"{_MOST_BUCKETS:,}",
            where=path,
        )
    if not (0 <= least <= 100 and 0 <= most <= 100):
        raise UserError(f"announces n-grams of {least} to {most} characters, expected 0 to 100", where=path)
    size, words, labels, _, pruned = _DICTIONARY.unpack(_exactly(path, file, _DICTIONARY.size))
    if labels != 0 or size != words:
        raise UserError(f"has {labels:,} labels: it is a supervised model, a classifier", where=path)
    if pruned > 0:
        raise UserError(
            "is pruned (a quantised model), and the rows of its n-grams are gone",
            where=path,
            hint="import the model.bin that was quantised",
        )
    if words < 1:
        raise UserError(f"announces {words:,} words, expected at least 1", where=path)
    taken = _dictionary(path, file, words, faults)
    if not (max(1, least) <= most and buckets):
        least = most = 0
    return Header(dim, buckets, max(1, least) if most else 0, most, words, *taken)


def _dictionary(
    path: Path, file: BinaryIO, size: int, faults: Faults
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The words, their rows and counts. Memory grows with what the file holds, whatever it announces."""
    taken: dict[str, tuple[int, int]] = {}
    for number in range(size):
        raw = bytearray()
        while (byte := file.read(1)) != b"\0":
            if not byte or len(raw) >= _MOST_WORD:
                raise faults.error(
                    number + 1,
                    f"no NUL ends this word: the file is cut off, or damaged (its header announces {size:,} words)",
                    hint="create or download the file again",
                )
            raw += byte
        count, kind = _ENTRY.unpack(_exactly(path, file, _ENTRY.size))
        if kind != 0 or count < 0:
            raise faults.error(number + 1, f"has count {count:,} and type {kind}, expected a count and type 0: a word")
        try:
            word = raw.decode("utf-8")
        except UnicodeDecodeError:
            faults.at(number + 1, "the word is not UTF-8")
            continue
        if not word or word in taken:
            faults.at(number + 1, f'the word "{word}" comes twice' if word else "the word is empty")
            continue
        taken[word] = (number, count)
        if number % _BLOCK == 0:
            events.emit("progress", label="reading", done=number, total=size, unit="words")
    if not taken:
        raise UserError("holds no words", where=path)
    rows, counts = np.array(list(taken.values()), np.int64).T
    return list(taken), rows, counts


def _matrix(path: Path, file: BinaryIO, rows: int, dim: int, target: Path) -> Floats:
    """The rows, [V + B, D], mapped from the file, or from a nameless copy of what was packed. Errors: quantised rows,
    another shape than the header's, a file that is shorter."""
    quantised, said_rows, said_dim = _MATRIX.unpack(_exactly(path, file, _MATRIX.size))
    if quantised:
        raise UserError(
            "is quantised, and its vectors are codes", where=path, hint="import the model.bin that was quantised"
        )
    if (said_rows, said_dim) != (rows, dim):
        raise UserError(
            f"has a matrix of {said_rows:,} x {said_dim:,}, expected {rows:,} x {dim:,}: a row for each "
            "word and bucket",
            where=path,
        )
    size = 4 * rows * dim
    cut = UserError(
        f"ends before its {rows:,} rows of {dim:,} numbers do", where=path, hint="create or download the file again"
    )
    if not suffixes(path)[1]:
        start = file.tell()
        if path.stat().st_size - start < size:
            raise cut
        return np.memmap(path, "<f4", "r", offset=start, shape=(rows, dim))
    try:
        with tempfile.TemporaryFile(dir=target.parent) as spool:
            while (left := size - spool.tell()) and (piece := file.read(min(left, 1 << 20))):
                spool.write(piece)
            if left:
                raise cut
            spool.flush()
            return np.memmap(spool, "<f4", "r", shape=(rows, dim))
    except OSError as error:
        raise atomic.cannot_write(error, target) from None


def _exactly(path: Path, file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise UserError(
            "ends within its header: the file is cut off", where=path, hint="create or download the file again"
        )
    return data


def _means(header: Header, raw: Floats) -> Floats:
    """The vectors of the words, [V, D]."""
    count = len(header.words)
    vectors = np.empty((count, header.dim), np.float32)
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        word_rows = raw[header.rows[part]]
        vectors[part] = _with_ngrams(header, header.words[part], word_rows, raw) if header.most else word_rows
        events.emit("progress", label="adding n-grams", done=start, total=count, unit="words")
    return vectors


def _with_ngrams(header: Header, words: Sequence[str], word_rows: Floats, raw: Floats) -> Floats:
    """The means of some words' rows, ``word_rows``, and those of their n-grams."""
    ngrams = grams(words, header.least, header.most, header.buckets)
    alone = ngrams.rows < len(words)
    rows = np.empty((len(ngrams.rows), header.dim), np.float32)
    rows[alone] = word_rows
    rows[~alone] = raw[ngrams.rows[~alone] - len(words) + header.entries]
    sums: Floats = np.add.reduceat(rows, ngrams.ends[:-1], axis=0)
    means = np.asarray(sums / np.diff(ngrams.ends)[:, None].astype(np.float32), np.float32)
    for number, word in enumerate(words):
        if word == _END_OF_SENTENCE:
            means[number] = word_rows[number]
    return means
