"""The inputs and outputs of training word vectors: settings, the corpus as ids, weights.

Shapes: V words, D width, N words of the corpus, S sentences.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import limits
from nlpkit.base.errors import UserError, choose
from nlpkit.vectors import LOSSES, METHODS

MIN_LR = 1e-4  # where the linear decay ends, as in word2vec

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of a training; the fields are named like the options of ``nlpkit vectors train``.

    ``sample`` is the threshold t of subsampling (0: none). ``average``: whether CBOW takes the mean of the words around
    and not their sum. ``divide``: whether each of them gets its part of the mean's gradient, or all of it, as in
    word2vec.c (Irsoy et al. 2021, "Corrected CBOW performs as well as skip-gram"). ``noise_exponent``: the power of the
    counts by which negatives are drawn; it and ``negative`` are for the losses ns and nce only.
    """

    method: str = "skipgram"
    loss: str = "ns"
    dim: int = 100
    window: int = 5
    negative: int = 5
    sample: float = 1e-3
    epochs: int = 5
    lr: float = 0.025
    average: bool = True
    divide: bool = False
    noise_exponent: float = 0.75

    def check(self) -> None:
        """Errors: a UserError that names the setting and what it may be."""
        if self.method == "glove":
            raise UserError(
                "glove learns from co-occurrence counts and not from text",
                hint="nlpkit vectors cooccur counts, nlpkit vectors glove trains on the counts",
            )
        choose(METHODS, self.method, field="method")
        choose(LOSSES, self.loss, field="loss")
        limits.check("vectors train", vars(self))
        if self.lr == 0:
            raise UserError(f"lr is {self.lr}, expected more than 0")

    def to_json(self) -> dict[str, float | str | bool]:
        """The settings that this method and loss use."""
        unused = ({"average", "divide"} if self.method != "cbow" else set()) | (
            {"negative", "noise_exponent"} if self.loss == "hs" else set()
        )
        return {name: value for name, value in vars(self).items() if name not in unused}

    @property
    def output_name(self) -> str:
        """The name of the output matrix: a row per word, or per inner node of the Huffman tree."""
        return "nodes" if self.loss == "hs" else "context"

    def output_rows(self, words: int) -> int:
        return words - 1 if self.loss == "hs" else words


@dataclass(frozen=True)
class Corpus:
    """A corpus as ids on disk, without out-of-vocabulary words; it can be read any number of times.

    ``ids`` [N] int32 and ``offsets`` [S + 1] int64 are memory-mapped; sentence s begins at ``offsets[s]``.
    """

    ids: Ids
    offsets: NDArray[np.int64]

    @property
    def words(self) -> int:
        return len(self.ids)

    @property
    def sentences(self) -> int:
        return len(self.offsets) - 1

    def forget(self) -> None:
        """Let the operating system drop the pages of the map; they are read again when needed."""
        for array in (self.ids, self.offsets):
            if isinstance(array, np.memmap):
                array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Weights:
    """The trained parameters: ``vectors`` [V, D] and the output matrix: [V, D], or for hs the inner nodes [V - 1, D].

    ``bias`` [V] belongs to the outputs (nce only); ``ngrams`` [B, D] are the vectors of the n-gram buckets.
    """

    vectors: Floats
    output: Floats
    bias: Floats | None = None
    ngrams: Floats | None = None


def keep_probability(counts: NDArray[np.int64], sample: float) -> NDArray[np.float64]:
    """The probability that an occurrence of a word survives subsampling, [V].

    word2vec.c's formula, (sqrt(f / t) + 1) t / f for frequency f and threshold t = ``sample``; Mikolov et al. 2013b
    (section 2.3, equation 5) print sqrt(t / f).
    """
    if sample == 0:
        return np.ones(len(counts))
    ratio = counts / (sample * counts.sum())  # f / t
    return np.asarray(np.minimum(1.0, (np.sqrt(ratio) + 1) / ratio))


def noise_distribution(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """The distribution of the negatives, [V]: the counts to a power (Mikolov et al. 2013b, section 2.2)."""
    if exponent == 0.75:  # IEEE square roots are the same on every CPU, other powers need not be
        root = np.sqrt(counts.astype(np.float64))
        powers = root * np.sqrt(root)
    else:
        powers = counts.astype(np.float64) ** exponent
    return np.asarray(powers / math.fsum(powers))
