"""One pass over a corpus: words are counted and their ids written to disk, in memory that depends on the
vocabulary only.

The pass numbers words as they occur; with several threads this order varies. When all are counted the frequent words
get their final ids, by descending count and then by code points, and the ids on disk are rewritten without the other
words.

Shapes: U different words of the corpus, V words of the vocabulary.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import atomic
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.vectors.base import Corpus, Ids
from nlpkit.vectors.text import scan

_SENTENCES = 1 << 16  # sentences whose lengths are read together
_IDS = 1 << 20  # ids of a block, cut at the end of a sentence

# Sentences: their ids, one sentence behind the other, and the length of each.
Split = tuple[Ids, NDArray[np.int64]]


@dataclass(frozen=True)
class Vocabulary:
    """The words that get vectors, most frequent first, their counts [V], and the number of words of the corpus."""

    words: list[str]
    counts: NDArray[np.int64]
    corpus_words: int


class Spool:
    """Sentences as ids in two unnamed temporary files beside ``target``: nothing is left behind, however the run ends.

    Errors: those of `nlpkit.artifact.atomic.cannot_write`, with the name of the target, as the files have none.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        with _named_errors(target):
            self.ids: Any = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115 - lives as long as its map
            self.lengths: Any = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115

    def add(self, ids: Ids, lengths: NDArray[np.int64]) -> None:
        """Append sentences: their ids one behind the other, and the length of each."""
        with _named_errors(self.target):
            self.ids.write(ids.astype(np.int32, copy=False).data)
            self.lengths.write(lengths.astype(np.int64, copy=False).data)

    def blocks(self) -> Iterator[Split]:
        """The sentences, in blocks."""
        with _named_errors(self.target):
            self.ids.seek(0)
            for sizes in self._sizes():
                for lengths in parts(sizes):
                    yield np.frombuffer(self.ids.read(4 * int(lengths.sum())), np.int32), lengths

    def corpus(self) -> Corpus:
        """The sentences as arrays, memory-mapped. Closes this spool."""
        with _named_errors(self.target):
            result = Corpus(self._mapped(np.int32, self.ids), self._offsets())
            self.close()
        return result

    def _sizes(self) -> Iterator[NDArray[np.int64]]:
        self.lengths.seek(0)
        while raw := self.lengths.read(8 * _SENTENCES):
            yield np.frombuffer(raw, np.int64)

    def _offsets(self) -> NDArray[np.int64]:
        """The offset of each sentence, memory-mapped as well."""
        with tempfile.TemporaryFile(dir=self.target.parent) as file:
            file.write(np.zeros(1, np.int64).data)
            total = 0
            for lengths in self._sizes():
                file.write((np.cumsum(lengths) + total).data)
                total += int(lengths.sum())
            return self._mapped(np.int64, file)

    @staticmethod
    def _mapped(dtype: Any, file: BinaryIO) -> NDArray[Any]:
        """A file as an array; the map keeps its bytes when the file is closed."""
        file.flush()
        array: NDArray[Any] = np.memmap(file, dtype, "r") if file.seek(0, 2) else np.zeros(0, dtype)
        return array

    def close(self) -> None:
        self.ids.close()
        self.lengths.close()


@contextmanager
def _named_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise atomic.cannot_write(error, target) from None


def parts(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The lengths of sentences, split about every million ids, so that no block is large."""
    return np.split(lengths, np.flatnonzero(np.diff(np.cumsum(lengths) // _IDS)) + 1)


def count(blocks: Iterable[Split], spool: Spool | None, label: str) -> NDArray[np.int64]:
    """The count of each word [U]; appends the ids to the spool, if there is one."""
    counts: NDArray[np.int64] = np.zeros(1 << 12, np.int64)
    done = 0
    for ids, lengths in blocks:
        ids = ids.astype(np.int32, copy=False)
        if spool is not None:
            spool.add(ids, lengths)
        met = int(ids.max(initial=-1)) + 1
        if met > len(counts):
            counts = np.concatenate([counts, np.zeros(met, np.int64)])
        scan.KERNELS.tally(ids, counts)
        done += len(ids)
        events.emit("progress", label=label, done=done, total=None, unit="words")
    return np.asarray(counts)


def only(ids: Ids, lengths: NDArray[np.int64], mask: NDArray[np.bool_]) -> Split:
    """The sentences with only the words that ``mask`` [N] selects."""
    before = np.concatenate([[0], np.cumsum(mask)])  # [N + 1], how many of the first n words the mask selects
    ends = np.cumsum(lengths)
    return ids[mask], before[ends] - before[ends - lengths]


def rewritten(blocks: Iterable[Split], final: Ids, target: Path) -> Corpus:
    """The corpus under its final ids: ``final`` [U] is the new id, or -1 for a word to leave out. No
    sentence is empty."""
    spool = Spool(target)
    for old, sizes in blocks:
        new, lengths = np.empty_like(old), np.empty_like(sizes)
        sentences = scan.KERNELS.renumber(old, sizes, final, new, lengths)
        lengths = lengths[:sentences]
        spool.add(new[: lengths.sum()], lengths)
    return spool.corpus()


def choose_words(
    names: Sequence[str], counts: NDArray[np.int64], *, min_count: int, vocab_size: int | None
) -> tuple[Vocabulary, Ids]:
    """The vocabulary, and the final id of each word [U], -1 for those outside.

    Errors: a UserError with the largest count, when fewer than two words are frequent enough.
    """
    frequent = np.flatnonzero(counts[: len(names)] >= max(1, min_count)).tolist()
    frequent.sort(key=names.__getitem__)
    order = np.argsort(-counts[frequent], kind="stable")[:vocab_size].tolist()
    chosen = [frequent[index] for index in order]
    total = int(counts.sum())
    if len(chosen) < 2:
        most = int(counts.max(initial=0))
        raise UserError(
            f"{len(chosen)} of the corpus' {total:,} words occur {min_count} times or more; at least 2 are "
            f"needed, and the most frequent occurs {most:,} times",
            hint="a smaller --min-count, or more text",
        )
    final = np.full(len(counts), -1, np.int32)
    final[chosen] = np.arange(len(chosen), dtype=np.int32)
    return Vocabulary([names[old] for old in chosen], counts[chosen], total), final
