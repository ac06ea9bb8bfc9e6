"""A vectors file: words, one row for each, and the output side of the training."""

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
_GUESSES = 50_000  # the most frequent words, among which the nearest spelling is looked for
_BLOCK = 1 << 16  # rows that are looked through at once

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """Words and their vectors, ``vectors`` [V, D], the most frequent word first; ``counts`` [V], None when they came
    from another tool's file, which does not tell. ``tokenizer`` is the one whose pieces the words are, if they are.
    ``ngrams`` [B, D] are those of n-grams, when the words' are made of them; ``made`` are rows behind those of the
    words: of words that the training has not seen."""

    words: list[str]
    vectors: Floats
    counts: NDArray[np.int64] | None
    config: dict[str, Any]
    where: Path | None = None
    tokenizer: dict[str, Any] | None = None
    ngrams: Floats | None = None
    made: dict[str, int] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> Floats:
        """The vectors divided by their lengths, [V, D]: products of two rows are cosines."""
        length = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return np.asarray(self.vectors / np.maximum(length, np.finfo(np.float32).tiny), np.float32)

    def find(self, word: str) -> int | None:
        """The row of a word; where no word has capitals, in lower case too, and normalised as the words of the training
        were. None: unknown."""
        row = self.ids.get(word)
        if row is None and self.config.get("lowercase"):
            row = self.ids.get(word.lower())
            row = self.ids.get(self._normal(word)) if row is None else row
        return self.made.get(word) if row is None else row

    def _normal(self, word: str) -> str:
        """A word as those of a lower-cased training were normalised. Files that do not say it had no accents."""
        return normalize(word, lower=True, strip=self.config.get("strip_accents", True)).strip()

    def knowing(self, words: Iterable[str]) -> Vectors:
        """These vectors, and one for each of ``words`` that has none but has n-grams: the mean of theirs (Bojanowski et
        al. 2017, section 5.3). The pieces of a tokenizer are all there are: it makes no others."""
        if self.ngrams is None or self.tokenizer is not None:
            return self
        from nlpkit.vectors.text.subwords import ngrams, parse  # imports numba

        least, most, buckets = parse(self.config["subwords"], self.config["buckets"])
        found: dict[str, Floats] = {}
        for word in dict.fromkeys(words):
            if self.find(word) is None:
                spelt = self._normal(word) if self.config.get("lowercase") else word
                if len(rows := ngrams(spelt, least, most, buckets)):
                    found[word] = self.ngrams[rows].mean(0)
        if not found:
            return self
        made = dict(zip(found, range(len(self.vectors), len(self.vectors) + len(found)), strict=True))
        return replace(self, vectors=np.concatenate([self.vectors, np.stack(list(found.values()))]), made=made)

    def row(self, word: str) -> int:
        """The row of a word. Errors: an unknown word is a UserError with the most alike of the frequent ones."""
        row = self.find(word)
        if row is None:
            guess = nearest(word, self.words[:_GUESSES]) or nearest(word.lower(), self.words[:_GUESSES])
            meant = f'; did you mean "{guess}"?' if guess else ""
            raise UserError(
                f'the word "{word}" has no vector{meant}',
                where=self.where,
                hint=f"{len(self.words):,} words have one; rarer words were left out",
            )
        return row


def load(path: Path) -> Vectors:
    """Open a vectors file. Errors: anything else is a UserError."""
    artifact = file.read(path, kind=KIND)
    config = artifact.config
    words = config.pop("words")
    vectors = artifact.array("vectors")
    counts = artifact.array("counts") if "counts" in artifact.tensors else None
    if not len(words) == len(vectors) == len(vectors if counts is None else counts):
        raise UserError(f"has {len(words):,} words for {len(vectors):,} vectors", where=path)
    ngrams = artifact.array("ngrams") if "ngrams" in artifact.tensors else None
    for name, rows in (("vectors", vectors), ("ngrams", ngrams)):
        if rows is not None and (bad := _not_numbers(rows)) is not None:
            whose = f'that of "{words[bad]}"' if name == "vectors" else f"row {bad:,} of its n-grams"
            raise RunError(
                f"its vectors are not numbers: {whose}",
                where=path,
                hint="the training that made them diverged, or the file is damaged",
            )
    return Vectors(words, vectors, counts, config, Path(path), artifact.tokenizer, ngrams)


def _not_numbers(rows_VD: Floats) -> int | None:
    """The first row with NaN or infinity."""
    for start in range(0, len(rows_VD), _BLOCK):
        block = rows_VD[start : start + _BLOCK]
        if not np.isfinite(block).all():
            return start + int((~np.isfinite(block).all(1)).argmax())
    return None
