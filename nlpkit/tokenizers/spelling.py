"""How one chunk of text is spelled, compiled (nlpkit/machine/native.py): helpers of kernels.py.

Pieces form a trie of bytes. Its edges, (node, byte) -> node, are the entries of a hash table with open addressing. In
UTF-8 a piece always ends at the end of a character. Merges are entries of such a table too: (left, right) -> (rank,
joined).

Each speller writes ids into ``row`` from index ``first`` on and returns the index after the last. ``fold`` [256] maps
each byte to its lower-cased form where the tokenizer lower-cases.
"""

from __future__ import annotations

from typing import Any

from nlpkit.machine.kernel import Bytes, Doubles, Ints, Longs, helper

# Classes of bytes, as bits. WHITE separates; SIGN is a word of its own to BERT; Python spells chunks with a FALLBACK.
WHITE, SIGN, LETTER, DIGIT, FALLBACK, ODD, HIGH = 1, 2, 4, 8, 16, 32, 64

# How chunks are cut into words, and how words are spelled.
BASIC, WHOLE, LEADING = 0, 1, 2  # BERT's words; the chunk itself; GPT-2's words with the white space before
WORDPIECE, WORD, UNIGRAM, MERGES = 0, 1, 2, 3

# Indices into the array `rule`.
CUT, SPELL, UNKNOWN, CONTINUED, LONGEST, PAIRED = range(6)

_LOW = (1 << 32) - 1
_MIX = -7046029254386353131  # 2**64 divided by the golden ratio, odd (Fibonacci hashing)
MOST_LETTERS = 256  # of a word that is merged here: the time grows with their square


@helper
def find(keys: Longs, values: Longs, key: Any) -> Any:
    """The value of a key, -1 if it has none."""
    mask = len(keys) - 1
    index = (key * _MIX >> 20) & mask
    while keys[index]:
        if keys[index] == key:
            return values[index]
        index = (index + 1) & mask
    return -1


@helper
def put(keys: Longs, values: Longs, key: Any, value: Any) -> Any:
    """Set the value of a key. Returns its value before, -1 if it had none."""
    mask = len(keys) - 1
    index = (key * _MIX >> 20) & mask
    while keys[index]:
        if keys[index] == key:
            before = values[index]
            values[index] = value
            return before
        index = (index + 1) & mask
    keys[index] = key
    values[index] = value
    return -1


@helper
def _wordpiece(
    text: Bytes,
    begin: Any,
    end: Any,
    fold: Bytes,
    rule: Longs,
    keys: Longs,
    values: Longs,
    node_id: Ints,
    row: Ints,
    first: Any,
) -> Any:
    """The longest piece that the rest of the word begins with, again and again."""
    letters = 0
    for start in range(begin, end):
        letters += text[start] & 0xC0 != 0x80
    if letters > rule[LONGEST]:
        row[first] = rule[UNKNOWN]
        return first + 1
    row_end, start, node = first, begin, 0
    while start < end:
        best, stop, here = -1, start, start
        while here < end and node >= 0:
            node = find(keys, values, ((node << 8) | fold[text[here]]) + 1)
            here += 1
            if node >= 0 and node_id[node] >= 0:
                best, stop = node_id[node], here
        if best < 0:
            row[first] = rule[UNKNOWN]
            return first + 1
        row[row_end] = best
        row_end += 1
        start, node = stop, rule[CONTINUED]
    return row_end


@helper
def _word(
    text: Bytes,
    begin: Any,
    end: Any,
    fold: Bytes,
    rule: Longs,
    keys: Longs,
    values: Longs,
    node_id: Ints,
    row: Ints,
    first: Any,
) -> Any:
    node, index = 0, begin
    while index < end and node >= 0:
        node = find(keys, values, ((node << 8) | fold[text[index]]) + 1)
        index += 1
    row[first] = node_id[node] if node >= 0 and node_id[node] >= 0 else rule[UNKNOWN]
    return first + 1


@helper
def _unigram(
    text: Bytes,
    begin: Any,
    end: Any,
    fold: Bytes,
    rule: Longs,
    floor: Doubles,
    keys: Longs,
    values: Longs,
    node_id: Ints,
    node_score: Doubles,
    row: Ints,
    first: Any,
    score: Doubles,
    by: Longs,
    piece: Ints,
) -> Any:
    """Viterbi as in unigram.py, on U+2581 (0xE2 0x96 0x81) and the word: the same sums in the same order."""
    size = end - begin + 3
    for index in range(1, size + 1):
        score[index] = -float("inf")
    score[0] = 0.0
    start = 0
    while start < size:
        byte = fold[text[begin + start - 3]] if start >= 3 else 0xE2
        width = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        here, alone, node, stop = score[start], False, 0, start
        while stop < size:
            letter = fold[text[begin + stop - 3]] if stop >= 3 else 0xE2 if stop == 0 else 0x96 if stop == 1 else 0x81
            node = find(keys, values, ((node << 8) | letter) + 1)
            if node < 0:
                break
            stop += 1
            if node_id[node] >= 0:
                alone = alone or stop == start + width
                if here + node_score[node] > score[stop]:
                    score[stop] = here + node_score[node]
                    by[stop] = start
                    piece[stop] = node_id[node]
        if not alone and here + floor[0] > score[start + width]:
            score[start + width] = here + floor[0]
            by[start + width] = start
            piece[start + width] = rule[UNKNOWN]
        start += width
    count, index, last = 0, size, -1
    while index:
        number = piece[index]
        if number != rule[UNKNOWN] or last != number:
            row[first + count] = number
            count += 1
        last = number
        index = by[index]
    for offset in range(count // 2):
        other = first + count - 1 - offset
        row[first + offset], row[other] = row[other], row[first + offset]
    return first + count


@helper
def _merge(
    text: Bytes,
    begin: Any,
    end: Any,
    fold: Bytes,
    letters: Ints,
    keys: Longs,
    values: Longs,
    row: Ints,
    first: Any,
    pairs: Longs,
) -> Any:
    """Join the leftmost pair of lowest rank, again and again. ``letters`` [512]: ids of bytes within a word, then of
    those at its end."""
    size = end - begin
    for index in range(size):
        row[first + index] = letters[fold[text[begin + index]] + (256 if index == size - 1 else 0)]
    for index in range(size - 1):
        pairs[index] = find(keys, values, ((row[first + index] << 32) | row[first + index + 1]) + 1)
    while size > 1:
        best, where = -1, 0
        for index in range(size - 1):
            if pairs[index] >= 0 and (best < 0 or pairs[index] >> 32 < best >> 32):
                best, where = pairs[index], index
        if best < 0:
            break
        size -= 1
        row[first + where] = best & _LOW
        for index in range(where + 1, size):
            row[first + index] = row[first + index + 1]
            pairs[index - 1] = pairs[index]
        for index in range(max(where - 1, 0), min(where + 1, size - 1)):
            pairs[index] = find(keys, values, ((row[first + index] << 32) | row[first + index + 1]) + 1)
    return first + size


@helper
def _gpt2(text: Bytes, index: Any, end: Any, kinds: Bytes) -> Any:
    """The end of GPT-2's word that begins at ``index``, in ASCII whose only white space is a single space before."""
    if text[index] == 39 and index + 1 < end:  # an apostrophe
        letter = text[index + 1]
        if letter == 115 or letter == 116 or letter == 109 or letter == 100:  # s t m d
            return index + 2
        if index + 2 < end:
            after = text[index + 2]
            if ((letter == 114 or letter == 118) and after == 101) or (letter == 108 and after == 108):  # re ve ll
                return index + 3
    if text[index] == 32:
        index += 1
    kind = kinds[text[index]] & (LETTER | DIGIT)
    while index < end and kinds[text[index]] & (LETTER | DIGIT) == kind:
        index += 1
    return index


@helper
def spell(
    text: Bytes,
    begin: Any,
    end: Any,
    kinds: Bytes,
    fold: Bytes,
    rule: Longs,
    floor: Doubles,
    letters: Ints,
    keys: Longs,
    values: Longs,
    node_id: Ints,
    node_score: Doubles,
    row: Ints,
    first: Any,
    score: Doubles,
    by: Longs,
    piece: Ints,
) -> Any:
    """Write the ids of a chunk from ``row[first]`` on. Returns the index after the last, -1: a word is too long."""
    start, row_end = begin, first
    while start < end:
        stop = end
        if rule[CUT] == BASIC:
            stop = start + 1
            if not kinds[text[start]] & SIGN:
                while stop < end and not kinds[text[stop]] & SIGN:
                    stop += 1
        elif rule[CUT] == LEADING:
            stop = _gpt2(text, start, end, kinds)
        if rule[SPELL] == WORDPIECE:
            row_end = _wordpiece(text, start, stop, fold, rule, keys, values, node_id, row, row_end)
        elif rule[SPELL] == WORD:
            row_end = _word(text, start, stop, fold, rule, keys, values, node_id, row, row_end)
        elif rule[SPELL] == UNIGRAM:
            row_end = _unigram(
                text, start, stop, fold, rule, floor, keys, values, node_id, node_score, row, row_end, score, by, piece
            )
        elif stop - start > MOST_LETTERS:
            return -1
        else:
            row_end = _merge(text, start, stop, fold, letters, keys, values, row, row_end, by)
        start = stop
    return row_end
