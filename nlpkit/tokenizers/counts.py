"""How often each word stands in a corpus, counted on all cores; the result does not depend on their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from nlpkit.parallel import in_order

BATCH = 4_000_000  # characters a worker counts at a time

Split = Callable[[str], list[str]]


def batches(texts: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Texts in lists of about ``size`` characters."""
    found: list[str] = []
    length = 0
    for text in texts:
        found.append(text)
        length += len(text)
        if length >= size:
            yield found
            found, length = [], 0
    if found:
        yield found


def _count(split: Split, texts: list[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    return counts


def count_words(texts: Iterable[str], split: Split, *, threads: int | None = None) -> dict[str, int]:
    """Word -> count, most frequent first and then by text: an order that no hash or thread decides."""
    total: Counter[str] = Counter()
    for part in in_order(partial(_count, split), batches(texts), threads=threads):
        total.update(part)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
