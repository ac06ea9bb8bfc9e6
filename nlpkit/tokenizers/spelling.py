"""How one chunk of text is spelled, compiled (nlpkit/machine/native.py): helpers of kernels.py.

Pieces are found in a tree of bytes: an edge from a node by a byte to a node is an entry of a table with open
addressing. UTF-8 is such that a piece ends where a character does. Merges are entries of such a table too, from a pair
to what it becomes.

A speller puts ids into ``row`` behind the ``first`` and says how many there are then. ``fold`` [256] is what a byte is
looked up as.
"""

from __future__ import annotations

from typing import Any

from nlpkit.machine.kernel import Bytes, Doubles, Ints, Longs, helper

# What a byte is, bits. WHITE separates; SIGN is a word of its own where words are BERT's; ASKED is Python's to spell.
WHITE, SIGN, LETTER, DIGIT, ASKED, ODD, HIGH = 1, 2, 4, 8, 16, 32, 64

# How chunks are cut and words spelled.
BASIC, WHOLE, LEADING = 0, 1, 2  # words: BERT's, the chunk itself, GPT-2's with the white space before
WORDPIECE, WORD, UNIGRAM, MERGES = 0, 1, 2, 3

# Places in the array `rule`.
CUT, SPELL, UNKNOWN, CONTINUED, LONGEST, PAIRED = range(6)

_LOW = (1 << 32) - 1
_MIX = -7046029254386353131  # 2 to the 64th through the golden ratio, odd
MOST_LETTERS = 256  # of a word whose pairs are merged here: it costs their square


@helper
def find(keys: Longs, values: Longs, key: Any) -> Any:
    """The value of a key, -1 for none."""
    mask = len(keys) - 1
    place = (key * _MIX >> 20) & mask
    while keys[place]:
        if keys[place] == key:
            return values[place]
        place = (place + 1) & mask
    return -1


@helper
def put(keys: Longs, values: Longs, key: Any, value: Any) -> Any:
    """Give a key a value; of two, the last counts. The value there was, -1 for none."""
    mask = len(keys) - 1
    place = (key * _MIX >> 20) & mask
    while keys[place]:
        if keys[place] == key:
            before = values[place]
            values[place] = value
            return before
        place = (place + 1) & mask
    keys[place] = key
    values[place] = value
    return -1


@helper
def _wordpiece(text: Bytes, begin: Any, end: Any, fold: Bytes, rule: Longs, keys: Longs, values: Longs,
               node_id: Ints, row: Ints, first: Any) -> Any:  # fmt: skip
    """Put a word's ids behind ``first``; how many there are then."""
    letters = 0
    for place in range(begin, end):
        letters += text[place] & 0xC0 != 0x80
    if letters > rule[LONGEST]:
        row[first] = rule[UNKNOWN]
        return first + 1
    found, place, node = first, begin, 0
    while place < end:
        best, stop, here = -1, place, place
        while here < end and node >= 0:
            node = find(keys, values, ((node << 8) | fold[text[here]]) + 1)
            here += 1
            if node >= 0 and node_id[node] >= 0:
                best, stop = node_id[node], here
        if best < 0:
            row[first] = rule[UNKNOWN]
            return first + 1
        row[found] = best
        found += 1
        place, node = stop, rule[CONTINUED]
    return found


@helper
def _word(text: Bytes, begin: Any, end: Any, fold: Bytes, rule: Longs, keys: Longs, values: Longs, node_id: Ints,
          row: Ints, first: Any) -> Any:  # fmt: skip
    node, place = 0, begin
    while place < end and node >= 0:
        node = find(keys, values, ((node << 8) | fold[text[place]]) + 1)
        place += 1
    row[first] = node_id[node] if node >= 0 and node_id[node] >= 0 else rule[UNKNOWN]
    return first + 1


@helper
def _unigram(text: Bytes, begin: Any, end: Any, fold: Bytes, rule: Longs, floor: Doubles, keys: Longs, values: Longs,
             node_id: Ints, node_score: Doubles, row: Ints, first: Any, score: Doubles, by: Longs,
             piece: Ints) -> Any:  # fmt: skip
    """Viterbi as in unigram.py, on U+2581 (0xE2 0x96 0x81) and the word: the same sums in the same order."""
    size = end - begin + 3
    for place in range(1, size + 1):
        score[place] = -float("inf")
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
    count, place, last = 0, size, -1
    while place:
        number = piece[place]
        if number != rule[UNKNOWN] or last != number:
            row[first + count] = number
            count += 1
        last = number
        place = by[place]
    for offset in range(count // 2):
        other = first + count - 1 - offset
        row[first + offset], row[other] = row[other], row[first + offset]
    return first + count


@helper
def _merge(text: Bytes, begin: Any, end: Any, fold: Bytes, letters: Ints, keys: Longs, values: Longs, row: Ints,
           first: Any, pairs: Longs) -> Any:  # fmt: skip
    """Join the leftmost of the first-learnt pairs, again and again. ``letters`` [512]: ids of bytes, and of those at
    the end of a word."""
    size = end - begin
    for place in range(size):
        row[first + place] = letters[fold[text[begin + place]] + (256 if place == size - 1 else 0)]
    for place in range(size - 1):
        pairs[place] = find(keys, values, ((row[first + place] << 32) | row[first + place + 1]) + 1)
    while size > 1:
        best, where = -1, 0
        for place in range(size - 1):
            if pairs[place] >= 0 and (best < 0 or pairs[place] >> 32 < best >> 32):
                best, where = pairs[place], place
        if best < 0:
            break
        size -= 1
        row[first + where] = best & _LOW
        for place in range(where + 1, size):
            row[first + place] = row[first + place + 1]
            pairs[place - 1] = pairs[place]
        for place in range(max(where - 1, 0), min(where + 1, size - 1)):
            pairs[place] = find(keys, values, ((row[first + place] << 32) | row[first + place + 1]) + 1)
    return first + size


@helper
def _gpt2(text: Bytes, place: Any, end: Any, kinds: Bytes) -> Any:
    """Where GPT-2's word that begins here ends; in ASCII, with a single space as the only white space."""
    if text[place] == 39 and place + 1 < end:  # an apostrophe
        letter = text[place + 1]
        if letter == 115 or letter == 116 or letter == 109 or letter == 100:  # s t m d
            return place + 2
        if place + 2 < end:
            after = text[place + 2]
            if ((letter == 114 or letter == 118) and after == 101) or (letter == 108 and after == 108):  # re ve ll
                return place + 3
    if text[place] == 32:
        place += 1
    kind = kinds[text[place]] & (LETTER | DIGIT)
    while place < end and kinds[text[place]] & (LETTER | DIGIT) == kind:
        place += 1
    return place


@helper
def spell(text: Bytes, begin: Any, end: Any, kinds: Bytes, fold: Bytes, rule: Longs, floor: Doubles, letters: Ints,
           keys: Longs, values: Longs, node_id: Ints, node_score: Doubles, row: Ints, first: Any, score: Doubles,
           by: Longs, piece: Ints) -> Any:  # fmt: skip
    """Put the ids of a chunk behind ``first``; how many there are then, -1: a word is too long."""
    place, found = begin, first
    while place < end:
        stop = end
        if rule[CUT] == BASIC:
            stop = place + 1
            if not kinds[text[place]] & SIGN:
                while stop < end and not kinds[text[stop]] & SIGN:
                    stop += 1
        elif rule[CUT] == LEADING:
            stop = _gpt2(text, place, end, kinds)
        if rule[SPELL] == WORDPIECE:
            found = _wordpiece(text, place, stop, fold, rule, keys, values, node_id, row, found)
        elif rule[SPELL] == WORD:
            found = _word(text, place, stop, fold, rule, keys, values, node_id, row, found)
        elif rule[SPELL] == UNIGRAM:
            found = _unigram(text, place, stop, fold, rule, floor, keys, values, node_id, node_score, row, found,
                             score, by, piece)  # fmt: skip
        elif stop - place > MOST_LETTERS:
            return -1
        else:
            found = _merge(text, place, stop, fold, letters, keys, values, row, found, by)
        place = stop
    return found
