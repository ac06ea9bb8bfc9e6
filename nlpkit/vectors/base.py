"""What an engine of word vectors is given, and what it gives back.

Shapes: V words, D width, N words of the corpus, S sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nlpkit.errors import UserError, choose
from nlpkit.seeds import Address
from nlpkit.vectors import LOSSES, METHODS

MIN_LR = 1e-4  # where the linear decay ends, as in word2vec

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Settings:
    """How to learn: the names of the options of ``nlpkit vectors train``.

    ``sample`` is the threshold t of subsampling (0: none), ``average`` whether CBOW divides by the number of context
    words, ``noise_exponent`` the power of the counts by which negatives are drawn. ``negative`` is for
    loss ns only.
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
    noise_exponent: float = 0.75

    def check(self) -> None:
        """Errors: a UserError that names the setting and what it may be."""
        choose(METHODS, self.method, field="method")
        choose(LOSSES, self.loss, field="loss")
        for name, least in (("dim", 1), ("window", 1), ("negative", 1), ("epochs", 0), ("sample", 0.0)):
            value = getattr(self, name)
            if not least <= value < np.inf:
                raise UserError(f"{name} is {value}, expected at least {least}")
        if not 0 < self.lr < np.inf:
            raise UserError(f"lr is {self.lr}, expected more than 0")
        if not np.isfinite(self.noise_exponent):
            raise UserError(f"noise_exponent is {self.noise_exponent}, expected a number")

    def to_json(self) -> dict[str, float | str | bool]:
        """The settings that this method and loss read."""
        unread = ({"average"} if self.method != "cbow" else set()) | (
            {"negative", "noise_exponent"} if self.loss != "ns" else set()
        )
        return {name: value for name, value in vars(self).items() if name not in unread}

    @property
    def output_name(self) -> str:
        """The tensor of the output side: one row a word, or one a node of the tree."""
        return "context" if self.loss == "ns" else "nodes"

    def output_rows(self, words: int) -> int:
        return words if self.loss == "ns" else words - 1


@dataclass(frozen=True)
class Corpus:
    """A corpus as ids on disk, without the words outside the vocabulary; it can be read again and again.

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

    def __iter__(self) -> Iterator[Ids]:
        step = 1 << 14
        for start in range(0, self.sentences, step):
            bounds = np.asarray(self.offsets[start : start + step + 1])
            block = np.asarray(self.ids[bounds[0] : bounds[-1]])
            yield from np.split(block, bounds[1:-1] - bounds[0])


@dataclass(frozen=True)
class Weights:
    """What is learnt: ``vectors`` [V, D], and the output side: [V, D] for ns, inner nodes [V - 1, D] for hs."""

    vectors: Floats
    output: Floats


class Engine(Protocol):
    """A module that learns vectors. ``libraries`` are the packages whose version may change the bytes."""

    libraries: tuple[str, ...]

    def train(
        self,
        corpus: Corpus,
        counts: NDArray[np.int64],
        settings: Settings,
        *,
        seed: Address,
        threads: int,
        progress: Callable[[int, int], None],
        epoch_end: Callable[[int, Weights], None],
    ) -> Weights:
        """Learn from a corpus whose word i occurs ``counts[i]`` times ([V], falling).

        ``progress(epoch, words)`` is told every ten thousand words or so how many of this epoch are done;
        ``epoch_end(epoch, weights)`` after each epoch, counted from 1. The result may not depend on ``threads``, nor on
        anything but the other arguments.
        """
        ...


def engine(method: str) -> Engine:
    """The engine of a method. Errors: an unknown method is a UserError that lists the valid ones."""
    return cast(Engine, import_module(choose(METHODS, method, field="method")))


def keep_probability(counts: NDArray[np.int64], sample: float) -> NDArray[np.float64]:
    """With which probability each occurrence of a word stays in a sentence, [V].

    word2vec.c's formula, (sqrt(f / t) + 1) t / f for frequency f and threshold t = ``sample``; Mikolov et al. 2013b
    (section 2.3, equation 5) print sqrt(t / f).
    """
    if sample == 0:
        return np.ones(len(counts))
    ratio = counts / (sample * counts.sum())  # f / t
    return np.asarray(np.minimum(1.0, (np.sqrt(ratio) + 1) / ratio))


def noise_distribution(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """From what negatives are drawn, [V]: the counts to a power (Mikolov et al. 2013b, section 2.2)."""
    powers = counts.astype(np.float64) ** exponent
    return np.asarray(powers / powers.sum())
