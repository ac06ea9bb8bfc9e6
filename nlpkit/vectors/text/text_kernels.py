"""Loops over text: words of bytes numbered in a table (`nlpkit.vectors.text.scan`), n-grams of words, pairs of words.

What runs for every word is compiled into its caller and takes a table's arrays one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import Bytes, Bytes2, Flags, Ints, Longs, helper, inlined, kernel
from nlpkit.machine.simd import eight, item, put
from nlpkit.vectors.text.scan import DONE, FULL, LINE, OTHER, SHORT, SLACK, UNKNOWN, Table

_BASIS, _PRIME = -3750763034362895579, 1099511628211  # of the hash FNV-1a, 64 bits
_LOW = (1 << 32) - 1


@helper
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


@inlined
def _number(slots: Longs, hashes: Longs, begins: Longs, arena: Bytes, used: Longs, size: int, hashed: Any) -> Any:
    """The number of the string of ``size`` bytes behind the last one in the arena; it stays there if it is new."""
    mask = len(slots) - 1
    new = item(used, 0)
    begin = item(begins, new)
    place = hashed & mask
    slot = item(slots, place)
    while slot:
        if (slot ^ hashed) >> 32 == 0:
            found = (slot & _LOW) - 1
            first = item(begins, found)
            if item(begins, found + 1) - first == size + 1:
                same = 0
                while same + 8 <= size and eight(arena, first + same) == eight(arena, begin + same):
                    same += 8
                rest = size - same
                if rest < 8:  # the last bytes, moved up so far that those behind them fall off
                    apart = eight(arena, first + same) ^ eight(arena, begin + same)
                    if rest == 0 or apart << np.uint64(64 - 8 * rest) == 0:
                        return found
        place = (place + 1) & mask
        slot = item(slots, place)
    slots[place] = (hashed & ~_LOW) | (new + 1)
    hashes[new] = hashed
    arena[begin + size] = 10
    begins[new + 1] = begin + size + 1
    used[:] = new + 1
    return new


@inlined
def _words(
    source: Bytes,
    place: Any,
    stop: Any,
    kinds: Bytes,
    slots: Longs,
    hashes: Longs,
    begins: Longs,
    arena: Bytes,
    used: Longs,
    ids: Ints,
    found: Any,
) -> Any:
    """Put the numbers of a chunk's words behind the ``found`` ids; how many there are then, -1 if the table is full."""
    while place < stop:
        begin = begins[used[0]]
        if used[0] == len(hashes) or begin + stop - place + SLACK >= len(arena):
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


@helper
def _chunk(source: Bytes, place: Any, stop: Any, others: Table) -> Any:
    """The number of a chunk; -1: the table is full."""
    begin = others.begins[others.used[0]]
    size = stop - place
    if others.used[0] == len(others.hashes) or begin + size + SLACK >= len(others.arena):
        return -1
    hashed: Any = _BASIS
    for offset in range(size):
        byte = source[place + offset]
        others.arena[begin + offset] = byte
        hashed = (hashed ^ np.int64(byte)) * _PRIME
    return _number(others.slots, others.hashes, others.begins, others.arena, others.used, size, hashed)


@inlined
def _end(text: Bytes, place: Any, kinds: Bytes) -> tuple[Any, Any]:
    """Where the chunk that begins here ends, here if none does; and whether its words are Python's to say."""
    stop, other = place, False
    kind = kinds[text[stop]]
    while kind > LINE:
        other |= kind == OTHER
        stop += 1
        kind = kinds[text[stop]]
    return stop, other


@kernel
def scan(
    text: Bytes,
    kinds: Bytes2,
    words: Table,
    others: Table,
    spelled: Bytes,
    ends: Longs,
    at: Longs,
    ids: Ints,
    lengths: Longs,
) -> int:
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
        # Most chunks are a short word. Whether it is one is seen behind it, when it stands in the arena already.
        new = item(used, 0)
        begin = item(begins, new)
        if new < len(hashes) and begin + SHORT + SLACK < len(arena):
            hashed: Any = _BASIS
            size = 0
            letter = item(plain, item(text, place))
            while letter > OTHER and size < SHORT:
                put(arena, begin + size, letter)
                hashed = (hashed ^ np.int64(letter)) * _PRIME
                size += 1
                letter = item(plain, item(text, place + size))
            if size and letter <= LINE:
                put(ids, found, np.int32(_number(slots, hashes, begins, arena, used, size, hashed)))
                place, found = place + size, found + 1
                if letter == LINE:
                    put(lengths, line, np.int64(found - before))
                    line, before = line + 1, found
                place += 1
                continue
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


@kernel
def collect(text: Bytes, place: int, kinds: Bytes, others: Table) -> int:
    """Number the chunks from ``place`` on whose words are Python's to say; for how many bytes there was no room."""
    _place(others)
    while place < len(text):
        stop, other = _end(text, place, kinds)
        if other and _chunk(text, place, stop, others) < 0:
            return int(stop - place)
        place = max(stop, place + 1)
    return 0


@kernel
def tally(ids: Ints, counts: Longs) -> int:
    """Add 1 to the count of each id."""
    for place in range(len(ids)):
        counts[ids[place]] += 1
    return 0


@kernel
def renumber(ids: Ints, lengths: Longs, final: Ints, new: Ints, sizes: Longs) -> int:
    """Sentences under other ids, ``final`` [U], without the words whose id is -1. Fills ``new`` and ``sizes``, how many
    words each sentence has that has any; returns how many sentences these are."""
    place, size, sentences = 0, 0, 0
    for sentence in range(len(lengths)):
        end, before = place + lengths[sentence], size
        while place < end:
            word = final[ids[place]]
            new[size] = word
            size += word >= 0
            place += 1
        if size > before:
            sizes[sentences] = size - before
            sentences += 1
    return sentences


@kernel
def ngrams(text: Bytes, least: int, most: int, buckets: int, found: Longs) -> int:
    """The numbers of a word's n-grams (`nlpkit.vectors.text.subwords`) in ``found``, which has room for all that there
    can be; returns how many there are."""
    count = 0
    for start in range(len(text)):
        if text[start] & 0xC0 == 0x80:  # not where a character begins
            continue
        code, length, place = np.uint32(2166136261), 0, start
        while place < len(text) and length < most:
            code = np.uint32((code ^ np.uint32(np.int8(text[place]))) * np.uint32(16777619))  # FNV-1a on signed bytes
            place += 1
            while place < len(text) and text[place] & 0xC0 == 0x80:
                code = np.uint32((code ^ np.uint32(np.int8(text[place]))) * np.uint32(16777619))
                place += 1
            length += 1
            if length >= least and not (length == 1 and (start == 0 or place == len(text))):
                found[count] = code % np.uint32(buckets)
                count += 1
    return count


@kernel
def add_pairs(
    pairs: Longs, weights: Longs, place: int, mask: int, bits: int, keys: Longs, times: Longs, used: Longs
) -> int:
    """Count pairs from ``place`` on, each once or by its weight; the place of the first that has no room.

    The table has open addressing: ``keys`` holds pairs plus 1, 0 is free. Pairs of other last ``bits`` are left out.
    """
    for number in range(place, len(pairs)):
        hashed = pairs[number] * -7046029254386353131
        hashed = (hashed ^ ((hashed >> 32) & 0xFFFFFFFF)) * -4417276706812531889
        hashed ^= (hashed >> 29) & 0x7FFFFFFFF
        if hashed & mask != bits:
            continue
        slot = (hashed >> 32) & (len(keys) - 1)
        key = pairs[number] + 1
        while keys[slot] != key and keys[slot] != 0:
            slot = (slot + 1) & (len(keys) - 1)
        if keys[slot] == 0:
            if 2 * used[0] >= len(keys):
                return number
            keys[slot] = key
            used[0] += 1
        times[slot] += weights[number] if len(weights) else 1
    return len(pairs)


@inlined
def _found(pairs: Longs, pair: Any) -> Any:
    """Where a pair is or would be among pairs that ascend."""
    low, high = 0, len(pairs)
    while low < high:
        middle = (low + high) >> 1
        if pairs[middle] < pair:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def join(ids: Ints, lengths: Longs, pairs: Longs, new: Ints, opens: Flags, out: Ints, sizes: Longs) -> int:
    """The sentences with their phrases joined. ``pairs`` [P] ascends, ``new`` [P] is the id of each; ``opens`` [U] are
    the first words of pairs. Fills ``out`` and ``sizes``, how many words each sentence has; returns how many
    these are."""
    place, size = 0, 0
    for sentence in range(len(lengths)):
        end, before = place + lengths[sentence], size
        while place < end:
            word = ids[place]
            place += 1
            if opens[word] and place < end:
                pair = (np.int64(word) << 32) + ids[place]
                found = _found(pairs, pair)
                if found < len(pairs) and pairs[found] == pair:
                    word = new[found]
                    place += 1
            out[size] = word
            size += 1
        sizes[sentence] = size - before
    return size
