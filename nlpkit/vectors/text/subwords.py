"""Vectors of words from those of their n-grams (Bojanowski et al. 2017, "Enriching word vectors with subword
information").

A word is written with < before and > behind it; its n-grams are all substrings of ``shortest`` to ``longest``
characters. Each has a number, a hash of its bytes modulo ``buckets``: n-grams with the same number share a vector. The
hash is fastText's, and so are the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError
from nlpkit.base.limits import MAX_BUCKETS, check_range
from nlpkit.vectors.text.scan import KERNELS

BUCKETS = 1 << 18
_WORDS = 1 << 12  # words whose means are computed together

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Grams:
    """The rows of a matrix [V + buckets, D] whose mean is the vector of each word: its own and those of its n-grams.

    Those of word w are ``rows[ends[w] : ends[w + 1]]``; n-gram g is row V + g.
    """

    rows: Numbers
    ends: Numbers
    buckets: int

    def means(self, matrix: Floats) -> Floats:
        """The vectors of the words, [V, D]."""
        words = len(self.ends) - 1
        result = np.empty((words, matrix.shape[1]), np.float32)
        for start in range(0, words, _WORDS):
            ends = self.ends[start : start + _WORDS + 1]
            sums = np.add.reduceat(matrix[self.rows[ends[0] : ends[-1]]], ends[:-1] - ends[0], axis=0)
            result[start : start + _WORDS] = sums / np.diff(ends)[:, None].astype(np.float32)
        return result


def parse(text: str, buckets: int | None = None) -> tuple[int, int, int]:
    """ "3-6" -> 3, 6 and the number of buckets (None: `BUCKETS`). Errors: a UserError for anything else."""
    match = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})", text)
    shortest, longest = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= shortest <= longest <= 100:
        raise UserError(f'subwords is "{text}", expected the shortest and the longest, such as 3-6')
    if buckets is not None:
        check_range("buckets", buckets, 1, MAX_BUCKETS)
    return shortest, longest, BUCKETS if buckets is None else buckets


def grams(words: Sequence[str], shortest: int, longest: int, buckets: int) -> Grams:
    """The n-grams of all words."""
    each = [ngrams(word, shortest, longest, buckets) for word in words]
    sizes = np.array([1 + len(numbers) for numbers in each], np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    rows = np.empty(ends[-1], np.int64)
    rows[ends[:-1]] = np.arange(len(words))
    is_word = np.zeros(len(rows), bool)
    is_word[ends[:-1]] = True
    rows[~is_word] = len(words) + np.concatenate(each)
    return Grams(rows, ends, buckets)


def ngrams(word: str, shortest: int, longest: int, buckets: int) -> Numbers:
    """The numbers of a word's n-grams, by start and then by length; < and > alone are no n-grams."""
    text = np.frombuffer(f"<{word}>".encode("utf-8", "surrogatepass"), np.uint8)
    numbers = np.empty(len(text) * (longest - shortest + 1), np.int64)
    return numbers[: KERNELS.ngrams(text, shortest, longest, buckets, numbers)]
