"""Text as bytes -> the numbers of its words, compiled: every byte is looked at once or twice, nothing else is done.

Words are kept in a table with open addressing: an arena of bytes, one word behind the other, and slots that hold a
part of a word's hash and its number. A chunk is what stands between white space. Chunks of printable ASCII are cut into
runs of letters and digits here. Any other chunk has its words from Python, which is asked once for each spelling: where
the first unknown one stands the kernel stops, having put it and all unknown ones behind it in a second table, and goes
on there when Python has written the words of each, so that words are numbered in the order of the text all the same.

What runs for every word is compiled into its caller and takes a table's arrays one by one: a call with a table counts
references to each of them, which takes as long as a look-up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlpkit.machine.kernel import Bytes, Longs
from nlpkit.machine.native import Kernels

# What a byte is: one of these, or a letter, that is the byte to put in the word (above 0x20 always).
SPACE, LINE, SIGN, OTHER = 0, 1, 2, 3

# Why the kernel came back: the text is done, a table is nearly full, or chunks were met that Python has to spell.
DONE, FULL, UNKNOWN = 0, 1, 2

SHORT = 32  # letters; longer words are numbered more slowly
SLACK = 8  # bytes behind the strings of an arena, as they are compared eight at a time

KERNELS = Kernels("nlpkit.vectors.text.text_kernels")


class Table(NamedTuple):
    """Strings of bytes, numbered from 0. K strings fit, ``slots`` has a power of two, at least twice K.

    String k is ``arena[begins[k] : begins[k + 1] - 1]``, a line end behind it; ``hashes`` [K]. A slot is 0 or has the
    upper half of the hash above k + 1. ``used`` is how many strings there are, and how many of them have a slot.
    """

    slots: Longs
    hashes: Longs
    begins: Longs
    arena: Bytes
    used: Longs


def table(strings: int = 1 << 12, size: int = 1 << 16) -> Table:
    """An empty table with room for so many strings of so many bytes in all."""
    slots = np.zeros(2 * strings, np.int64)
    begins = np.zeros(strings + 1, np.int64)
    return Table(slots, np.zeros(strings, np.int64), begins, np.zeros(size, np.uint8), np.zeros(2, np.int64))


def grown(old: Table, more: int) -> Table:
    """A table with the same strings and room for one more of ``more`` bytes; this one, if it has room."""
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
    new.used[0] = used  # and none of them has a slot yet: the kernel sees to it
    return new
