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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpkit.compiled import compiled

# What a byte is: one of these, or a letter, that is the byte to put in the word (above 0x20 always).
SPACE, LINE, SIGN, OTHER = 0, 1, 2, 3

# Why the kernel came back: the text is done, a table is nearly full, or chunks were met that Python has to spell.
DONE, FULL, UNKNOWN = 0, 1, 2

_BASIS, _PRIME = -3750763034362895579, 1099511628211  # of the hash FNV-1a, 64 bits
_LOW = (1 << 32) - 1

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


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
    if used < strings and last + more < size:
        return old
    new = table(2 * strings if used == strings else strings, 2 * size + more if last + more >= size else size)
    new.hashes[:strings] = old.hashes
    new.begins[: strings + 1] = old.begins
    new.arena[:size] = old.arena
    new.used[0] = used  # and none of them has a slot yet: the kernel sees to it
    return new


@compiled()
def _place(strings: Table) -> None:
    """Give a slot to the strings that have none."""
    slots, hashes, used = strings.slots, strings.hashes, strings.used
    mask = len(slots) - 1
    for number in range(used[1], used[0]):
        place = hashes[number] & mask
        while slots[place]:
            place = (place + 1) & mask
        slots[place] = (hashes[number] & ~_LOW) | (number + 1)
    used[1] = used[0]


@compiled(inline="always")
def _number(slots: Longs, hashes: Longs, begins: Longs, arena: Bytes, used: Longs, size: int, hashed: Any) -> Any:
    """The number of the string of ``size`` bytes behind the last one in the arena; it stays there if it is new."""
    mask = len(slots) - 1
    begin = begins[used[0]]
    place = hashed & mask
    while slots[place]:
        slot = slots[place]
        if (slot ^ hashed) >> 32 == 0:
            found = (slot & _LOW) - 1
            first = begins[found]
            if begins[found + 1] - first == size + 1:
                same = 0
                while same < size and arena[first + same] == arena[begin + same]:
                    same += 1
                if same == size:
                    return found
        place = (place + 1) & mask
    new = used[0]
    slots[place] = (hashed & ~_LOW) | (new + 1)
    hashes[new] = hashed
    arena[begin + size] = 10
    begins[new + 1] = begin + size + 1
    used[:] = new + 1
    return new


@compiled(inline="always")
def _words(
    source: Bytes, place: Any, stop: Any, kinds: Bytes, slots: Longs, hashes: Longs, begins: Longs, arena: Bytes,
    used: Longs, ids: NDArray[np.int32], found: Any,
) -> Any:  # fmt: skip
    """Put the numbers of a chunk's words behind the ``found`` ids; how many there are then, -1 if the table is full."""
    while place < stop:
        begin = begins[used[0]]
        if used[0] == len(hashes) or begin + stop - place >= len(arena):
            return -1
        hashed: Any = _BASIS
        size = 0
        letter = kinds[source[place]]
        while letter > OTHER:  # the white space behind a chunk is the last
            arena[begin + size] = letter
            hashed = (hashed ^ np.int64(letter)) * _PRIME
            size += 1
            letter = kinds[source[place + size]]
        place += size + 1
        if size:
            ids[found] = _number(slots, hashes, begins, arena, used, size, hashed)
            found += 1
    return found


@compiled()
def _chunk(source: Bytes, place: Any, stop: Any, others: Table) -> Any:
    """The number of a chunk; -1: the table is full."""
    begin = others.begins[others.used[0]]
    size = stop - place
    if others.used[0] == len(others.hashes) or begin + size >= len(others.arena):
        return -1
    hashed: Any = _BASIS
    for offset in range(size):
        byte = source[place + offset]
        others.arena[begin + offset] = byte
        hashed = (hashed ^ np.int64(byte)) * _PRIME
    return _number(others.slots, others.hashes, others.begins, others.arena, others.used, size, hashed)


@compiled(inline="always")
def _end(text: Bytes, place: Any, kinds: Bytes) -> tuple[Any, Any]:
    """Where the chunk that begins here ends, here if none does; and whether its words are Python's to say."""
    stop, other = place, False
    kind = kinds[text[stop]]
    while kind > LINE:
        other |= kind == OTHER
        stop += 1
        kind = kinds[text[stop]]
    return stop, other


@compiled()
def scan(
    text: Bytes, kinds: Bytes, words: Table, others: Table, spelled: Bytes, ends: Longs, at: Longs,
    ids: NDArray[np.int32], lengths: Longs,
) -> int:  # fmt: skip
    """Number the words of ``text``, which ends with a line end, from where ``at`` says on. Returns why it came back.

    ``kinds`` [2, 256] is what a byte is in the text, and in what Python spelled. The words of the chunk that ``others``
    numbers k, a space between them, are ``spelled[ends[k] : ends[k + 1]]``. ``ids`` and ``lengths`` are filled: the
    words' numbers, and how many each line has. ``at`` is the next byte, how many ids and lines there are, how many ids
    before this line, and for how many bytes a table had no room.
    """
    _place(words)
    _place(others)
    slots, hashes, begins, arena, used = words
    plain, said = kinds[0], kinds[1]
    place, found, line, before = at[0], at[1], at[2], at[3]
    status = DONE
    while place < len(text):
        stop, other = _end(text, place, plain)
        if stop == place:
            if plain[text[place]] == LINE:
                lengths[line] = found - before
                line, before = line + 1, found
            place += 1
            continue
        size, after = stop - place, -1
        if not other:
            after = _words(text, place, stop, plain, slots, hashes, begins, arena, used, ids, found)
        else:
            number = _chunk(text, place, stop, others)
            if number >= len(ends) - 1:
                status = UNKNOWN
                break
            if number >= 0:
                size = ends[number + 1] - ends[number]
                after = _words(
                    spelled, ends[number], ends[number + 1], said, slots, hashes, begins, arena, used, ids, found
                )
        if after < 0:
            at[4] = size
            status = FULL
            break
        place, found = stop, after
    at[0], at[1], at[2], at[3] = place, found, line, before
    return status


@compiled()
def collect(text: Bytes, place: Any, kinds: Bytes, others: Table) -> Any:
    """Number the chunks from ``place`` on whose words are Python's to say; for how many bytes there was no room."""
    _place(others)
    while place < len(text):
        stop, other = _end(text, place, kinds)
        if other and _chunk(text, place, stop, others) < 0:
            return stop - place
        place = max(stop, place + 1)
    return 0
