"""Text as bytes -> the numbers of its chunks -> ids, compiled (nlpkit/machine/native.py): each byte is read twice.

A chunk is a part of the text between white space (pretokenize.py). The distinct chunks are cached in a hash table with
open addressing:

    slots   [hash, high half | number + 1] ...     0: free
    arena   bytes of chunk 0 | chunk 1 | ...       chunk k is arena[begins[k] : begins[k + 1]]
    row     ids of chunk 0 | chunk 1 | ...         chunk k has row_size[k] of them from row_begin[k] on

A new chunk of ASCII is spelled at once. Any other waits for Python, which spells all of them together between `scan`
and `gather`.

Shapes: P pieces, S sentences of a text.
"""

from __future__ import annotations

from typing import Any

from nlpkit.machine.kernel import Bytes, Doubles, Ints, Longs, helper, kernel
from nlpkit.tokenizers.spelling import CUT, FALLBACK, HIGH, LEADING, ODD, PAIRED, WHITE, find, put, spell

# Indices into the array `at`.
CHUNKS, IDS, WAITING, TEXT_CHUNKS, SENTENCES, DOCUMENTS, WORDS, SIZE = range(8)

_BASIS, _PRIME = -3750763034362895579, 1099511628211  # of the hash FNV-1a, 64 bits
_LOW = (1 << 32) - 1


@helper
def _white(text: Bytes, index: Any) -> Any:
    """The length in bytes of the white space (``str.isspace``) at ``index``; 0: there is none."""
    byte = text[index]
    if byte < 0x80:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2:
        return 2 if text[index + 1] == 0x85 or text[index + 1] == 0xA0 else 0
    if byte == 0xE1:
        return 3 if text[index + 1] == 0x9A and text[index + 2] == 0x80 else 0
    if byte == 0xE2:
        second, third = text[index + 1], text[index + 2]
        if second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF):
            return 3
        return 3 if second == 0x81 and third == 0x9F else 0
    if byte == 0xE3:
        return 3 if text[index + 1] == 0x80 and text[index + 2] == 0x80 else 0
    return 0


@kernel
def build_trie(
    text: Bytes, ends: Longs, ids: Ints, scores: Doubles, keys: Longs, values: Longs, node_id: Ints, node_score: Doubles
) -> int:
    """Build the trie of the pieces that ``text`` holds one after the other; ``ends`` [P] are their ends. Node 0 is the
    root; `node_id` is -1 where no piece ends. Returns the number of nodes."""
    nodes, index = 1, 0
    node_id[0] = -1
    for number in range(len(ends)):
        node = 0
        while index < ends[number]:
            key = ((node << 8) | text[index]) + 1
            after = find(keys, values, key)
            if after < 0:
                after = nodes
                put(keys, values, key, after)
                node_id[after] = -1
                nodes += 1
            node = after
            index += 1
        node_id[node] = ids[number]
        node_score[node] = scores[number]
    return nodes


@kernel
def build_merges(left: Longs, right: Longs, joined: Longs, keys: Longs, values: Longs) -> int:
    """Fill the table of merges: (left, right) -> (rank, joined), in one number."""
    for rank in range(len(left)):
        put(keys, values, ((left[rank] << 32) | right[rank]) + 1, (rank << 32) | joined[rank])
    return 0


@kernel
def find_node(text: Bytes, keys: Longs, values: Longs) -> int:
    """The node at which a text ends, -1: no piece has this prefix."""
    node = 0
    for index in range(len(text)):
        if node >= 0:
            node = find(keys, values, ((node << 8) | text[index]) + 1)
    return node


@helper
def _chunk(
    text: Bytes, begin: Any, size: Any, hashed: Any, slots: Longs, hashes: Longs, begins: Longs, arena: Bytes, at: Longs
) -> Any:
    """The number of the chunk ``text[begin : begin + size]``, which is appended if it is new."""
    mask = len(slots) - 1
    index = (hashed ^ hashed >> 32) & mask
    while slots[index]:
        slot = slots[index]
        if (slot ^ hashed) >> 32 == 0:
            number = (slot & _LOW) - 1
            start = begins[number]
            if begins[number + 1] - start == size:
                same = 0
                while same < size and arena[start + same] == text[begin + same]:
                    same += 1
                if same == size:
                    return number
        index = (index + 1) & mask
    new = at[CHUNKS]
    slots[index] = (hashed & ~_LOW) | (new + 1)
    hashes[new] = hashed
    start = begins[new]
    for offset in range(size):
        arena[start + offset] = text[begin + offset]
    begins[new + 1] = start + size
    at[CHUNKS] = new + 1
    return new


@kernel
def fill_slots(slots: Longs, hashes: Longs, count: int) -> int:
    """Enter the first ``count`` chunks into ``slots``, which are all free."""
    mask = len(slots) - 1
    for number in range(count):
        index = (hashes[number] ^ hashes[number] >> 32) & mask
        while slots[index]:
            index = (index + 1) & mask
        slots[index] = (hashes[number] & ~_LOW) | (number + 1)
    return 0


@kernel
def count_separators(text: Bytes) -> int:
    """How many bytes may begin white space: an upper bound of the number of chunks, less one."""
    count = 0
    for index in range(len(text)):
        byte = text[index]
        count += (byte <= 32) | (byte == 0xC2) | ((byte >= 0xE1) & (byte <= 0xE3))
    return count


@helper
def _words(text: Bytes, index: Any, end: Any) -> Any:
    """The number of words, as ``str.split`` counts them."""
    count, inside = 0, False
    while index < end:
        width = _white(text, index)
        if width == 0 and not inside:
            count += 1
        inside = width == 0
        index += max(width, 1)
    return count


@helper
def _stripped(text: Bytes, begin: Any, end: Any) -> tuple[Any, Any]:
    """The line's begin and end without the white space around it."""
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


@helper
def _next(text: Bytes, cursor: Any, last: Any, bits: Any, kinds: Bytes, rule: Longs) -> tuple[Any, Any, Any, Any]:
    """The next chunk of a line that ends at ``last``: its begin and end, its hash, and the classes of its bytes.
    ``bits`` are those of the line."""
    start = cursor
    flags = 0
    hashed: Any = _BASIS
    if bits & ODD and rule[CUT] != LEADING:
        while cursor < last:
            hashed = (hashed ^ text[cursor]) * _PRIME
            cursor += 1
        flags = FALLBACK
    else:
        while cursor < last:  # the white space before
            byte = text[cursor]
            width = 1 if kinds[byte] & WHITE else _white(text, cursor) if byte >= 0xC2 else 0
            if width == 0:
                break
            if rule[CUT] == LEADING:
                flags |= 0 if byte == 32 and cursor == start else FALLBACK
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
            flags |= kind
            paired |= byte == text[cursor - 1] and (byte == 96 or byte == 39) and cursor > start
            hashed = (hashed ^ byte) * _PRIME
            cursor += 1
        if paired and rule[PAIRED]:
            flags = FALLBACK
    return start, cursor, hashed, flags


@kernel
def scan(
    text: Bytes,
    kinds: Bytes,
    fold: Bytes,
    rule: Longs,
    floor: Doubles,
    letters: Ints,
    keys: Longs,
    values: Longs,
    node_id: Ints,
    node_score: Doubles,
    slots: Longs,
    hashes: Longs,
    begins: Longs,
    arena: Bytes,
    row_begin: Longs,
    row_size: Ints,
    row: Ints,
    waiting: Longs,
    at: Longs,
    numbers: Ints,
    counts: Ints,
    documents: Longs,
    piece: Ints,
    by: Longs,
    score: Doubles,
) -> int:
    """Number the chunks of ``text``, whose lines each end with a line feed.

    Lines are stripped; those that are not empty are sentences. Written are ``numbers`` (the chunks of the text),
    ``counts`` (chunks of each sentence), ``documents`` (how many sentences precede each end of a document that is not
    empty), ``waiting`` (new chunks that Python has to spell), and in ``at`` the lengths of all these, the words and the
    bytes.
    """
    begin, chunks, sentences, closed = 0, 0, 0, 0
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
        before, cursor = chunks, first
        if bits & ODD:
            words += _words(text, first, last)
        while cursor < last:
            start, cursor, hashed, flags = _next(text, cursor, last, bits, kinds, rule)
            known = at[CHUNKS]
            number = _chunk(text, start, cursor - start, hashed, slots, hashes, begins, arena, at)
            if number == known:
                row_begin[number] = at[IDS]
                after = -1
                if not flags & (FALLBACK | HIGH):
                    after = spell(
                        text,
                        start,
                        cursor,
                        kinds,
                        fold,
                        rule,
                        floor,
                        letters,
                        keys,
                        values,
                        node_id,
                        node_score,
                        row,
                        at[IDS],
                        score,
                        by,
                        piece,
                    )
                if after < 0:
                    waiting[at[WAITING]] = number
                    at[WAITING] += 1
                    after = at[IDS]
                row_size[number] = after - at[IDS]
                at[IDS] = after
            numbers[chunks] = number
            chunks += 1
        if not bits & ODD:
            words += chunks - before
        counts[sentences] = chunks - before
        sentences += 1
    at[TEXT_CHUNKS], at[SENTENCES], at[DOCUMENTS], at[WORDS], at[SIZE] = chunks, sentences, closed, words, size
    return chunks


@kernel
def gather(numbers: Ints, counts: Ints, row_begin: Longs, row_size: Ints, row: Ints, ids: Ints, lengths: Longs) -> int:
    """Concatenate the rows of a text's chunks into ``ids``; ``lengths`` [S] are the ids of each sentence."""
    written, chunk = 0, 0
    for sentence in range(len(counts)):
        before = written
        for _ in range(counts[sentence]):
            number = numbers[chunk]
            chunk += 1
            start = row_begin[number]
            for offset in range(row_size[number]):
                ids[written] = row[start + offset]
                written += 1
        lengths[sentence] = written - before
    return written
