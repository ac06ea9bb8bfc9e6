"""Text as bytes -> the numbers of its words, compiled: every byte is read once or twice.

Words are stored in a hash table with open addressing: an arena of bytes holds the words one behind the other, and a
slot holds a part of a word's hash and its number. A chunk is a run of bytes without white space.

    text -> chunks -> printable ASCII: the kernel cuts it into runs of letters and digits -> ids
                   -> any other: looked up in the table ``others`` -> words that Python wrote -> ids

Python splits each other chunk once. At the first unknown one the kernel stops, and `collect` enters it and all unknown
ones behind it in ``others``; when Python has written their words the kernel continues there, so that words are numbered
in the order of the text all the same.

Functions that run for every word are inlined and take the arrays of a table one by one: passing a table counts a
reference to each array, which takes as long as a look-up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlpkit.machine.kernel import Bytes, Longs
from nlpkit.machine.native import Kernels

# The kind of a byte: one of these, or the byte that it becomes in a word (always above 0x20).
SPACE, LINE, SIGN, OTHER = 0, 1, 2, 3

# Why the kernel stopped: the text is done, a table is nearly full, or Python has to split a chunk.
DONE, FULL, UNKNOWN = 0, 1, 2

SHORT = 32  # letters; longer words are numbered more slowly
SLACK = 8  # bytes behind the strings of an arena, which are compared eight bytes at a time

KERNELS = Kernels("nlpkit.vectors.text.text_kernels")


class Table(NamedTuple):
    """Strings of bytes, numbered from 0, K at most. The length of ``slots`` is a power of two and at least 2 K.

    String k is ``arena[begins[k] : begins[k + 1] - 1]``, a line end behind it; ``hashes`` [K]. A slot is 0 (free) or
    holds two halves: [upper 32 bits of the hash | k + 1]. ``used``: the number of strings, and of those with a slot.
    """

    slots: Longs
    hashes: Longs
    begins: Longs
    arena: Bytes
    used: Longs


def table(strings: int = 1 << 12, size: int = 1 << 16) -> Table:
    """An empty table with a capacity of ``strings`` strings and ``size`` bytes in all."""
    slots = np.zeros(2 * strings, np.int64)
    begins = np.zeros(strings + 1, np.int64)
    return Table(slots, np.zeros(strings, np.int64), begins, np.zeros(size, np.uint8), np.zeros(2, np.int64))


def grown(old: Table, more: int) -> Table:
    """A table with the same strings that holds one more of ``more`` bytes; ``old`` itself, if it does."""
    strings, size, used = len(old.hashes), len(old.arena), int(old.used[0])
    last = int(old.begins[used])
    if used < strings and last + more + SLACK < size:
        return old
    new = table(
        2 * strings if used == strings else strings, 2 * size + more + SLACK if last + more + SLACK >= size else size
    )
    new.hashes[:strings] = old.hashes
    new.begins[: strings + 1] = old.begins
    new.arena[:size] = old.arena
    new.used[0] = used  # none of them has a slot yet: the kernel assigns them
    return new
