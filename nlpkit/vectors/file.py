"""A file of word vectors: words, a row for each, and the output matrix of the training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.base.errors import RunError, UserError, nearest
from nlpkit.tokenizers.normalize import normalize

KIND = "vectors"
_GUESSES = 50_000  # spelling suggestions come from this many of the most frequent words
_BLOCK = 1 << 16  # rows checked together

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """Words and their vectors, ``vectors`` [V, D], the most frequent word first.

    ``counts`` [V] is None for a file of another tool, which does not hold them. ``tokenizer`` is set when the words are
    the pieces of a tokenizer. ``ngrams`` [B, D] are the vectors of n-gram buckets, when the training used sub-words.
    ``oov``: out-of-vocabulary word -> its row, behind the V rows of the vocabulary.
    """

    words: list[str]
    vectors: Floats
    counts: NDArray[np.int64] | None
    config: dict[str, Any]
    where: Path | None = None
    tokenizer: dict[str, Any] | None = None
    ngrams: Floats | None = None
    oov: dict[str, int] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> Floats:
        """The vectors divided by their lengths, [V, D]: products of two rows are cosines."""
        length = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return np.asarray(self.vectors / np.maximum(length, np.finfo(np.float32).tiny), np.float32)

    def find(self, word: str) -> int | None:
        """The row of a word, None: unknown. A lower-cased vocabulary is searched for the lower-cased word and for the
        normalised one too."""
        row = self.ids.get(word)
        if row is None and self.config.get("lowercase"):
            row = self.ids.get(word.lower())
            row = self.ids.get(self._normal(word)) if row is None else row
        return self.oov.get(word) if row is None else row

    def _normal(self, word: str) -> str:
        """A word as the training normalised it. Files without ``strip_accents`` come from a training that stripped."""
        return normalize(word, lower=True, strip=self.config.get("strip_accents", True)).strip()

    def with_oov(self, words: Iterable[str]) -> Vectors:
        """These vectors, and one for each out-of-vocabulary word of ``words`` that has n-grams: the mean of their
        vectors (Bojanowski et al. 2017, section 5.3). A tokenizer has no pieces out of its vocabulary."""
        if self.ngrams is None or self.tokenizer is not None:
            return self
        from nlpkit.vectors.text.subwords import ngrams, parse  # imports numba

        shortest, longest, buckets = parse(self.config["subwords"], self.config["buckets"])
        composed: dict[str, Floats] = {}
        for word in dict.fromkeys(words):
            if self.find(word) is None:
                normal = self._normal(word) if self.config.get("lowercase") else word
                if len(rows := ngrams(normal, shortest, longest, buckets)):
                    composed[word] = self.ngrams[rows].mean(0)
        if not composed:
            return self
        oov = dict(zip(composed, range(len(self.vectors), len(self.vectors) + len(composed)), strict=True))
        return replace(self, vectors=np.concatenate([self.vectors, np.stack(list(composed.values()))]), oov=oov)

    def row(self, word: str) -> int:
        """The row of a word. Errors: an unknown word is a UserError that suggests the nearest spelling."""
        row = self.find(word)
        if row is None:
            suggestion = nearest(word, self.words[:_GUESSES]) or nearest(word.lower(), self.words[:_GUESSES])
            meant = f'; did you mean "{suggestion}"?' if suggestion else ""
            raise UserError(
                f'the word "{word}" has no vector{meant}',
                where=self.where,
                hint=f"{len(self.words):,} words have one; rarer words were left out",
            )
        return row


def load(path: Path) -> Vectors:
    """Open a file of word vectors. Errors: a UserError for any other file, a RunError for NaN or infinity."""
    artifact = file.read(path, kind=KIND)
    config = artifact.config
    words = config.pop("words")
    vectors = artifact.array("vectors")
    counts = artifact.array("counts") if "counts" in artifact.tensors else None
    if not len(words) == len(vectors) == len(vectors if counts is None else counts):
        raise UserError(f"has {len(words):,} words for {len(vectors):,} vectors", where=path)
    ngrams = artifact.array("ngrams") if "ngrams" in artifact.tensors else None
    for name, rows in (("vectors", vectors), ("ngrams", ngrams)):
        if rows is not None and (row := _first_not_finite(rows)) is not None:
            whose = f'the vector of "{words[row]}"' if name == "vectors" else f"row {row:,} of the n-grams"
            raise RunError(
                f"holds NaN or infinity: {whose}",
                where=path,
                hint="the training that made them diverged, or the file is damaged",
            )
    return Vectors(words, vectors, counts, config, Path(path), artifact.tokenizer, ngrams)


def _first_not_finite(rows_VD: Floats) -> int | None:
    """The first row with NaN or infinity."""
    for start in range(0, len(rows_VD), _BLOCK):
        block = rows_VD[start : start + _BLOCK]
        if not np.isfinite(block).all():
            return start + int((~np.isfinite(block).all(1)).argmax())
    return None
