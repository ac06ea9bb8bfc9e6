"""How often each word occurs in a corpus, counted on all cores; the result does not depend on their number.

A corpus of any size is counted in bounded memory: when there are more than `MOST` different words, the rarer half is
dropped, and a note says so. A dropped word that occurs again is counted from one, so only the counts of rare words are
too small. When words are dropped depends on the text alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from nlpkit.base import events
from nlpkit.base.parallel import in_order

BATCH = 4_000_000  # characters a worker counts at a time
MOST = 1_000_000  # different words; learning from so many takes about 1 GB, of unigram 3

Split = Callable[[str], list[str]]


def batches(texts: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Texts in lists of about ``size`` characters."""
    batch: list[str] = []
    length = 0
    for text in texts:
        batch.append(text)
        length += len(text)
        if length >= size:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _count(split: Split, texts: list[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    return counts


def count_words(texts: Iterable[str], split: Split, *, threads: int | None = None) -> dict[str, int]:
    """Word -> count, most frequent first and then by text: an order that no hash or thread decides."""
    total: Counter[str] = Counter()
    lost = 0
    for part in in_order(partial(_count, split), batches(texts), threads=threads):
        total.update(part)
        if len(total) > MOST:
            uses = total.total()
            total = Counter(dict(_ordered(total)[: MOST // 2]))
            lost += uses - total.total()
        events.emit("progress", label="counting", done=len(total), total=None, unit="different words")
    if lost:
        everything = total.total() + lost
        events.note(
            f"the corpus has more than {MOST:,} different words; the rarest were dropped, "
            f"{lost / everything:.2%} of its {everything:,} words"
        )
    return dict(_ordered(total))


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
