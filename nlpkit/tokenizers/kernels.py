"""Text as bytes -> the numbers of its chunks -> ids, compiled (nlpkit/machine/native.py): every byte is looked at twice
or so.

A chunk is what stands between white space (pretokenize.py). Chunks are kept in a table with open addressing: an arena
of bytes, one chunk behind the other, a row of ids for each, and slots that hold a part of a chunk's hash and its
number. A chunk that was never met is spelled at once when it is ASCII; any other waits for Python, which is asked
between `scan` and `gather`, once for all of a text.

Shapes: K chunks, N nodes, S sentences of a text, C chunks of a text.
"""

from __future__ import annotations

from typing import Any

from nlpkit.machine.kernel import Bytes, Doubles, Ints, Longs, helper, kernel
from nlpkit.tokenizers.spelling import ASKED, CUT, HIGH, LEADING, ODD, PAIRED, WHITE, find, put, spell

# Places in the array `at`.
CHUNKS, IDS, WAITING, FOUND, SENTENCES, DOCUMENTS, WORDS, SIZE = range(8)

_BASIS, _PRIME = -3750763034362895579, 1099511628211  # of the hash FNV-1a, 64 bits
_LOW = (1 << 32) - 1


@helper
def _white(text: Bytes, place: Any) -> Any:
    """How many bytes the white space here has, as ``str.isspace`` says; 0: it is none."""
    byte = text[place]
    if byte < 0x80:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2:
        return 2 if text[place + 1] == 0x85 or text[place + 1] == 0xA0 else 0
    if byte == 0xE1:
        return 3 if text[place + 1] == 0x9A and text[place + 2] == 0x80 else 0
    if byte == 0xE2:
        second, third = text[place + 1], text[place + 2]
        if second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF):
            return 3
        return 3 if second == 0x81 and third == 0x9F else 0
    if byte == 0xE3:
        return 3 if text[place + 1] == 0x80 and text[place + 2] == 0x80 else 0
    return 0


@kernel
def plant(text: Bytes, ends: Longs, ids: Ints, scores: Doubles, keys: Longs, values: Longs, node_id: Ints,
          node_score: Doubles) -> int:  # fmt: skip
    """The tree of pieces, each of which ends in ``text`` where ``ends`` says. Node 0 is the root; `node_id` is -1 where
    no piece ends. Returns how many nodes there are."""
    nodes, place = 1, 0
    node_id[0] = -1
    for number in range(len(ends)):
        node = 0
        while place < ends[number]:
            key = ((node << 8) | text[place]) + 1
            after = find(keys, values, key)
            if after < 0:
                after = nodes
                put(keys, values, key, after)
                node_id[after] = -1
                nodes += 1
            node = after
            place += 1
        node_id[node] = ids[number]
        node_score[node] = scores[number]
    return nodes


@kernel
def pair(left: Longs, right: Longs, joined: Longs, keys: Longs, values: Longs) -> int:
    """The table of merges: (left, right) -> when it was learnt, and what it becomes."""
    for rank in range(len(left)):
        put(keys, values, ((left[rank] << 32) | right[rank]) + 1, (rank << 32) | joined[rank])
    return 0


@kernel
def walk(text: Bytes, keys: Longs, values: Longs) -> int:
    """The node where a text ends, -1: no piece begins so."""
    node = 0
    for place in range(len(text)):
        if node >= 0:
            node = find(keys, values, ((node << 8) | text[place]) + 1)
    return node


@helper
def _chunk(text: Bytes, begin: Any, size: Any, hashed: Any, slots: Longs, hashes: Longs, begins: Longs, arena: Bytes,
           at: Longs) -> Any:  # fmt: skip
    """The number of a chunk; a new one is put behind the others."""
    mask = len(slots) - 1
    place = (hashed ^ hashed >> 32) & mask
    while slots[place]:
        slot = slots[place]
        if (slot ^ hashed) >> 32 == 0:
            number = (slot & _LOW) - 1
            own = begins[number]
            if begins[number + 1] - own == size:
                same = 0
                while same < size and arena[own + same] == text[begin + same]:
                    same += 1
                if same == size:
                    return number
        place = (place + 1) & mask
    new = at[CHUNKS]
    slots[place] = (hashed & ~_LOW) | (new + 1)
    hashes[new] = hashed
    own = begins[new]
    for offset in range(size):
        arena[own + offset] = text[begin + offset]
    begins[new + 1] = own + size
    at[CHUNKS] = new + 1
    return new


@kernel
def settle(slots: Longs, hashes: Longs, count: int) -> int:
    """Give a slot to each of the ``count`` chunks, whose slots are empty."""
    mask = len(slots) - 1
    for number in range(count):
        where = (hashes[number] ^ hashes[number] >> 32) & mask
        while slots[where]:
            where = (where + 1) & mask
        slots[where] = (hashes[number] & ~_LOW) | (number + 1)
    return 0


@kernel
def between(text: Bytes) -> int:
    """How many bytes may begin white space, so that no more chunks than one after each can be."""
    found = 0
    for place in range(len(text)):
        byte = text[place]
        found += (byte <= 32) | (byte == 0xC2) | ((byte >= 0xE1) & (byte <= 0xE3))
    return found


@helper
def _words(text: Bytes, place: Any, end: Any) -> Any:
    """How many words ``str.split`` finds."""
    found, inside = 0, False
    while place < end:
        width = _white(text, place)
        if width == 0 and not inside:
            found += 1
        inside = width == 0
        place += max(width, 1)
    return found


@helper
def _stripped(text: Bytes, begin: Any, end: Any) -> tuple[Any, Any]:
    """A line without the white space around it."""
    while begin < end:
        width = _white(text, begin)
        if width == 0:
            break
        begin += width
    while begin < end:
        lead = end - 1
        while lead > begin and text[lead] & 0xC0 == 0x80:
            lead -= 1
        width = _white(text, lead)
        if width == 0 or lead + width != end:
            break
        end = lead
    return begin, end


@kernel
def scan(
    text: Bytes, kinds: Bytes, fold: Bytes, rule: Longs, floor: Doubles, letters: Ints, keys: Longs, values: Longs,
    node_id: Ints, node_score: Doubles, slots: Longs, hashes: Longs, begins: Longs, arena: Bytes, row_begin: Longs,
    row_size: Ints, row: Ints, waiting: Longs, at: Longs, numbers: Ints, counts: Ints, documents: Longs,
    piece: Ints, by: Longs, score: Doubles,
) -> int:  # fmt: skip
    """Number the chunks of ``text``, lines that each end with a line end.

    Lines are stripped; ``counts`` [S] is how many chunks each that is not empty has, and ``documents`` how many of
    these there were when an empty one came, if that is another number than before. ``waiting`` are the chunks that
    Python has to spell. ``at`` is where all of this ended, and beside it how many words and bytes the sentences have.
    """
    begin, found, sentences, closed = 0, 0, 0, 0
    ended = -1
    words, size = 0, 0
    while begin < len(text):
        bits, end = 0, begin
        while text[end] != 10:
            bits |= kinds[text[end]]
            if text[end] == 0xC2 and text[end + 1] == 0x85:
                bits |= ODD
            end += 1
        next_line = end + 1
        first, last = _stripped(text, begin, end)
        begin = next_line
        if first == last:
            if ended != sentences:
                documents[closed] = sentences
                closed += 1
                ended = sentences
            continue
        size += last - first
        before, cursor = found, first
        if bits & ODD:
            words += _words(text, first, last)
        while cursor < last:
            start = cursor
            asked = 0
            hashed: Any = _BASIS
            if bits & ODD and rule[CUT] != LEADING:
                while cursor < last:
                    hashed = (hashed ^ text[cursor]) * _PRIME
                    cursor += 1
                asked = ASKED
            else:
                while cursor < last:  # the white space before
                    byte = text[cursor]
                    width = 1 if kinds[byte] & WHITE else _white(text, cursor) if byte >= 0xC2 else 0
                    if width == 0:
                        break
                    if rule[CUT] == LEADING:
                        asked |= 0 if byte == 32 and cursor == start else ASKED
                        for _ in range(width):
                            hashed = (hashed ^ text[cursor]) * _PRIME
                            cursor += 1
                    else:
                        cursor += width
                        start = cursor
                paired = 0
                while cursor < last:
                    byte = text[cursor]
                    kind = kinds[byte]
                    if kind & WHITE or (kind & HIGH and _white(text, cursor)):
                        break
                    asked |= kind
                    paired |= byte == text[cursor - 1] and (byte == 96 or byte == 39) and cursor > start
                    hashed = (hashed ^ byte) * _PRIME
                    cursor += 1
                if paired and rule[PAIRED]:
                    asked = ASKED
            known = at[CHUNKS]
            number = _chunk(text, start, cursor - start, hashed, slots, hashes, begins, arena, at)
            if number == known:
                row_begin[number] = at[IDS]
                after = -1
                if not asked & (ASKED | HIGH):
                    after = spell(text, start, cursor, kinds, fold, rule, floor, letters, keys, values, node_id,
                                   node_score, row, at[IDS], score, by, piece)  # fmt: skip
                if after < 0:
                    waiting[at[WAITING]] = number
                    at[WAITING] += 1
                    after = at[IDS]
                row_size[number] = after - at[IDS]
                at[IDS] = after
            numbers[found] = number
            found += 1
        if not bits & ODD:
            words += found - before
        counts[sentences] = found - before
        sentences += 1
    at[FOUND], at[SENTENCES], at[DOCUMENTS], at[WORDS], at[SIZE] = found, sentences, closed, words, size
    return found


@kernel
def gather(numbers: Ints, counts: Ints, row_begin: Longs, row_size: Ints, row: Ints, ids: Ints,
           lengths: Longs) -> int:  # fmt: skip
    """Write the rows of a text's chunks one behind the other, and how many ids each sentence has."""
    found, place = 0, 0
    for sentence in range(len(counts)):
        before = found
        for _ in range(counts[sentence]):
            number = numbers[place]
            place += 1
            start = row_begin[number]
            for offset in range(row_size[number]):
                ids[found] = row[start + offset]
                found += 1
        lengths[sentence] = found - before
    return found
