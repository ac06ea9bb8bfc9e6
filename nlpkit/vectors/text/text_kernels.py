"""Loops over text: words of bytes numbered in a table (`nlpkit.vectors.text.scan`), n-grams of words, pairs of words.

Functions that run for every word are inlined and take the arrays of a table one by one.
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
def _assign_slots(strings: Table) -> None:
    """Enter the strings that are not in the slots yet."""
    slots, hashes, used = strings.slots, strings.hashes, strings.used
    mask = len(slots) - 1
    for number in range(used[1], used[0]):
        slot = hashes[number] & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = (hashes[number] & ~_LOW) | (number + 1)
    used[1] = used[0]


@inlined
def _number(slots: Longs, hashes: Longs, begins: Longs, arena: Bytes, used: Longs, size: int, hashed: Any) -> Any:
    """The number of the string of ``size`` bytes behind the last one in the arena; a new one is added to the table."""
    mask = len(slots) - 1
    new = item(used, 0)
    begin = item(begins, new)
    index = hashed & mask
    slot = item(slots, index)
    while slot:
        if (slot ^ hashed) >> 32 == 0:
            candidate = (slot & _LOW) - 1
            first = item(begins, candidate)
            if item(begins, candidate + 1) - first == size + 1:
                same = 0
                while same + 8 <= size and eight(arena, first + same) == eight(arena, begin + same):
                    same += 8
                rest = size - same
                if rest < 8:  # the last bytes, shifted left so that the bytes behind them drop out
                    apart = eight(arena, first + same) ^ eight(arena, begin + same)
                    if rest == 0 or apart << np.uint64(64 - 8 * rest) == 0:
                        return candidate
        index = (index + 1) & mask
        slot = item(slots, index)
    slots[index] = (hashed & ~_LOW) | (new + 1)
    hashes[new] = hashed
    arena[begin + size] = 10
    begins[new + 1] = begin + size + 1
    used[:] = new + 1
    return new


@inlined
def _words(
    source: Bytes,
    position: Any,
    stop: Any,
    kinds: Bytes,
    slots: Longs,
    hashes: Longs,
    begins: Longs,
    arena: Bytes,
    used: Longs,
    ids: Ints,
    n_ids: Any,
) -> Any:
    """Append the numbers of a chunk's words to the ``n_ids`` ids; returns the new count, -1 if the table is full."""
    while position < stop:
        begin = begins[used[0]]
        if used[0] == len(hashes) or begin + stop - position + SLACK >= len(arena):
            return -1
        hashed: Any = _BASIS
        size = 0
        letter = kinds[source[position]]
        while letter > OTHER:  # ends at the white space behind the chunk at the latest
            arena[begin + size] = letter
            hashed = (hashed ^ np.int64(letter)) * _PRIME
            size += 1
            letter = kinds[source[position + size]]
        position += size + 1
        if size:
            ids[n_ids] = _number(slots, hashes, begins, arena, used, size, hashed)
            n_ids += 1
    return n_ids


@helper
def _chunk(source: Bytes, start: Any, stop: Any, others: Table) -> Any:
    """The number of a chunk; -1: the table is full."""
    begin = others.begins[others.used[0]]
    size = stop - start
    if others.used[0] == len(others.hashes) or begin + size + SLACK >= len(others.arena):
        return -1
    hashed: Any = _BASIS
    for offset in range(size):
        byte = source[start + offset]
        others.arena[begin + offset] = byte
        hashed = (hashed ^ np.int64(byte)) * _PRIME
    return _number(others.slots, others.hashes, others.begins, others.arena, others.used, size, hashed)


@inlined
def _end(text: Bytes, start: Any, kinds: Bytes) -> tuple[Any, Any]:
    """The end of the chunk that begins at ``start`` (``start`` if none does), and whether Python has to split it."""
    stop, other = start, False
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
    """Number the words of ``text``, which ends with a line end, from position ``at[0]`` on. Returns why it stopped.

    ``kinds`` [2, 256] are the kinds of bytes in the text, and in chunks split by Python. The words of chunk k of
    ``others``, joined by spaces, are ``spelled[ends[k] : ends[k + 1]]``. Fills ``ids``, the numbers of the words, and
    ``lengths``, the number of words of each line. ``at`` holds the next position, the numbers of ids and of lines so
    far, the number of ids before this line, and the bytes that did not fit in a full table.
    """
    _assign_slots(words)
    _assign_slots(others)
    slots, hashes, begins, arena, used = words
    text_kinds, spelled_kinds = kinds[0], kinds[1]
    position, n_ids, line, before = at[0], at[1], at[2], at[3]
    status = DONE
    while position < len(text):
        # Most chunks are one short word: it is copied to the arena at once, and the byte behind it decides.
        new = item(used, 0)
        begin = item(begins, new)
        if new < len(hashes) and begin + SHORT + SLACK < len(arena):
            hashed: Any = _BASIS
            size = 0
            letter = item(text_kinds, item(text, position))
            while letter > OTHER and size < SHORT:
                put(arena, begin + size, letter)
                hashed = (hashed ^ np.int64(letter)) * _PRIME
                size += 1
                letter = item(text_kinds, item(text, position + size))
            if size and letter <= LINE:
                put(ids, n_ids, np.int32(_number(slots, hashes, begins, arena, used, size, hashed)))
                position, n_ids = position + size, n_ids + 1
                if letter == LINE:
                    put(lengths, line, np.int64(n_ids - before))
                    line, before = line + 1, n_ids
                position += 1
                continue
        stop, other = _end(text, position, text_kinds)
        if stop == position:
            if text_kinds[text[position]] == LINE:
                lengths[line] = n_ids - before
                line, before = line + 1, n_ids
            position += 1
            continue
        size, after = stop - position, -1
        if not other:
            after = _words(text, position, stop, text_kinds, slots, hashes, begins, arena, used, ids, n_ids)
        else:
            number = _chunk(text, position, stop, others)
            if number >= len(ends) - 1:
                status = UNKNOWN
                break
            if number >= 0:
                size = ends[number + 1] - ends[number]
                after = _words(
                    spelled,
                    ends[number],
                    ends[number + 1],
                    spelled_kinds,
                    slots,
                    hashes,
                    begins,
                    arena,
                    used,
                    ids,
                    n_ids,
                )
        if after < 0:
            at[4] = size
            status = FULL
            break
        position, n_ids = stop, after
    at[0], at[1], at[2], at[3] = position, n_ids, line, before
    return status


@kernel
def collect(text: Bytes, position: int, kinds: Bytes, others: Table) -> int:
    """Number the chunks from ``position`` on that Python has to split; returns the bytes that did not fit, or 0."""
    _assign_slots(others)
    while position < len(text):
        stop, other = _end(text, position, kinds)
        if other and _chunk(text, position, stop, others) < 0:
            return int(stop - position)
        position = max(stop, position + 1)
    return 0


@kernel
def tally(ids: Ints, counts: Longs) -> int:
    """Add 1 to the count of each id."""
    for index in range(len(ids)):
        counts[ids[index]] += 1
    return 0


@kernel
def renumber(ids: Ints, lengths: Longs, final: Ints, new: Ints, sizes: Longs) -> int:
    """Map ids to ``final`` [U] and drop the words that map to -1. Fills ``new`` and ``sizes``, the lengths of the
    sentences that are not empty; returns the number of these sentences."""
    position, size, sentences = 0, 0, 0
    for sentence in range(len(lengths)):
        end, before = position + lengths[sentence], size
        while position < end:
            word = final[ids[position]]
            new[size] = word
            size += word >= 0
            position += 1
        if size > before:
            sizes[sentences] = size - before
            sentences += 1
    return sentences


@kernel
def ngrams(text: Bytes, shortest: int, longest: int, buckets: int, numbers: Longs) -> int:
    """Write the bucket numbers of a word's n-grams (`nlpkit.vectors.text.subwords`) to ``numbers``, which is large
    enough for all; returns their count."""
    count = 0
    for start in range(len(text)):
        if text[start] & 0xC0 == 0x80:  # a continuation byte of UTF-8
            continue
        code, length, position = np.uint32(2166136261), 0, start
        while position < len(text) and length < longest:
            # FNV-1a on signed bytes
            code = np.uint32((code ^ np.uint32(np.int8(text[position]))) * np.uint32(16777619))
            position += 1
            while position < len(text) and text[position] & 0xC0 == 0x80:
                code = np.uint32((code ^ np.uint32(np.int8(text[position]))) * np.uint32(16777619))
                position += 1
            length += 1
            if length >= shortest and not (length == 1 and (start == 0 or position == len(text))):
                numbers[count] = code % np.uint32(buckets)
                count += 1
    return count


@kernel
def add_pairs(
    pairs: Longs, weights: Longs, start: int, mask: int, bits: int, keys: Longs, times: Longs, used: Longs
) -> int:
    """Count pairs from ``start`` on, each once or by its weight; returns the index of the first that does not fit.

    The table has open addressing: ``keys`` holds pairs plus 1, 0 is free. Pairs whose last hash bits are not ``bits``
    are left out.
    """
    for number in range(start, len(pairs)):
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
def _lower_bound(pairs: Longs, pair: Any) -> Any:
    """The index at which a pair is, or would be inserted, in ascending ``pairs``."""
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
    """Join the phrases of sentences. ``pairs`` [P] ascends, ``new`` [P] holds their ids; ``opens`` [U] marks the words
    that begin a pair. Fills ``out`` and ``sizes``, the number of words of each sentence; returns the number of all
    words."""
    position, size = 0, 0
    for sentence in range(len(lengths)):
        end, before = position + lengths[sentence], size
        while position < end:
            word = ids[position]
            position += 1
            if opens[word] and position < end:
                pair = (np.int64(word) << 32) + ids[position]
                index = _lower_bound(pairs, pair)
                if index < len(pairs) and pairs[index] == pair:
                    word = new[index]
                    position += 1
            out[size] = word
            size += 1
        sizes[sentence] = size - before
    return size
