"""The kernel of word2vec: how text becomes steps, and why every number of threads takes the same ones.

word2vec (Mikolov et al. 2013a, 2013b) reads a text word by word. Around each word it opens a window; the window's
words predict the word in the middle through two matrices, inputs x and outputs y, by logistic regressions: on the word
and on some drawn ones (negative sampling, noise-contrastive estimation), or on the nodes of the word's path in a
Huffman tree (hierarchical softmax). All three are one thing here: a window has inputs, outputs and a label for each
output, and y moves by rate (label - sigmoid(x . y)) x, x likewise along y.

**Rounds.** The usual program lets threads write to the same matrices at the same time, so each run gives other vectors.
Here the text is cut in units of `UNIT` words and rounds of `UNITS` units; both are numbers of the algorithm and not of
the machine.

1. Which words of a unit stay, their windows and the rows they need are found out (`prepare`), before anything is read.
   That needs the text only, so a thread that finds no unit to train does it for the next round.
2. Each unit trains on its words, one window after the other (`train_unit`). A row that no other unit of the round needs
   is trained where it is; of the others every unit has a copy, made when it begins, and the matrix keeps what they
   were. So units do not see each other, and threads may take them in any order.
3. When all are done the copies are merged. A row that k units used gets the sum of what they changed, in the order of
   the units, scaled as `shrink` says. Which thread does it does not matter, as rows do not depend on each other.

So a round is a function of the matrices and of the text, and so is the result; threads only share its work.

**Draws.** Whether a word is kept (subsampling), and how wide its window is, are a function of the epoch's key and of
its place in the text; the unit before and the unit after can know them without asking. Negatives belong to a unit:
`POOL` words are drawn from the noise for it, and its windows take them in turn, over and over. All inputs of a window
share its own (Ji et al. 2016, section 4).

**Order within a unit.** `GROUP` windows are scored, then they learn, one after the other. A skip-gram window has its
words as inputs, each of which predicts by itself (as word2vec.c has it; the paper turns it round). A CBOW window has
one input, the mean or the sum of its words, and its gradient goes to each of them.

**What makes it fast.** The products of a window stay in registers (`nlpkit.vectors.word2vec.products`). A unit's rows
fit in a core's own cache, into which they are read one after the other before it begins, each asked for ahead
(`nlpkit.vectors.word2vec.fetching`); those that no other unit needs are not copied. Rows begin where lines of the cache
do, and the matrices lie in large pages. All of a unit's work is one piece of machine code, in which no index is checked
and no reference counted.

Shapes: N words of the text, S sentences, V words of the vocabulary, R outputs, W the width filled up to a multiple of
sixteen; matrices are flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import Doubles, Longs, helper, inlined, kernel
from nlpkit.machine.simd import LANES, item, prefetch, put
from nlpkit.vectors.word2vec import team
from nlpkit.vectors.word2vec.fetching import fetch, fetch_means, find, forget, found, places
from nlpkit.vectors.word2vec.merging import merge, merge_means
from nlpkit.vectors.word2vec.rounds import (
    GROUP,
    POOL,
    SLOTS,
    TOP,
    UNIT,
    UNITS,
    Matrix,
    Plan,
    Scratch,
    System,
    Units,
)
from nlpkit.vectors.word2vec.windows import learn_cbow, learn_skipgram

_LINE = 16  # floats that come from memory together

_U64 = np.uint64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@inlined
def draw(key: Any, number: Any) -> Any:
    """64 random bits: number ``number`` of the sequence ``key`` (SplitMix64; Steele et al. 2014, figure 14)."""
    z = key + _GOLDEN * _U64(number + 1)
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


@inlined
def below(bits: Any, limit: Any) -> Any:
    """32 random bits as a number from 0 to less than ``limit``."""
    return np.int64((bits * _U64(limit)) >> _HALF)


@helper
def sample(plan: Any, units: Any, slot: int, key: Any, begin: int, end: int) -> Any:
    """The words of a unit that stay, and as many around it as windows may need.

    Returns the place of the first word in ``kept``, that behind the unit's last, and that behind the last. The unit's
    own words begin at ``window``.
    """
    ids, offsets, keep, window = plan.ids, plan.offsets, plan.keep, plan.window
    kept, starts, ends, reach = units.kept[slot], units.starts[slot], units.ends[slot], units.reach[slot]
    low, high = 0, len(offsets) - 1
    while high - low > 1:  # the sentence of the first word
        middle = (low + high) >> 1
        if offsets[middle] <= begin:
            low = middle
        else:
            high = middle
    sentence = low
    first, i = window, begin - 1
    while i >= offsets[sentence] and first > 0:
        if (draw(key, i) >> _HALF) <= _U64(keep[ids[i]]):
            first -= 1
            kept[first] = ids[i]
        i -= 1
    place, start, boundary = window, first, offsets[sentence + 1]
    for i in range(begin, end):
        if i >= boundary:
            while i >= boundary:
                sentence += 1
                boundary = offsets[sentence + 1]
            ends[max(start, window) : place] = place - 1
            start = place
        bits = draw(key, i)
        if (bits >> _HALF) <= _U64(keep[ids[i]]):
            if plan.tree:
                prefetch(plan.paths, ids[i])
            kept[place] = ids[i]
            starts[place] = start
            reach[place] = 1 + below(bits & _LOW, window)
            place += 1
    last, i = place, end
    while i < boundary and place < last + window:
        if (draw(key, i) >> _HALF) <= _U64(keep[ids[i]]):
            kept[place] = ids[i]
            place += 1
        i += 1
    ends[max(start, window) : last] = place - 1
    return first, last, place


@helper
def find_outputs(plan: Any, units: Any, own: Any, slot: int, at: int, key: Any, last: int, x_uses: Any, y: Any) -> Any:
    """The output rows of a unit's windows, whose places are found from ``at`` on; how many there are."""
    window, kept, size, first = plan.window, units.kept[slot], 0, slot * y.rows.shape[1]
    picks, inputs_of, outputs = units.picks[slot], units.inputs_of[slot], units.outputs[slot]
    if plan.tree:
        root = plan.roots - 1
        size, used = min(TOP, plan.roots), 0
        place: Any
        for place in range(size):
            put(y.rows, first + place, np.int64(root - place))
            put(y.uses, first + place, np.int64(0))
        for j in range(window, last):
            word = inputs_of[j]
            if own.begun[word] < 0:
                own.begun[word] = used
                p, end, times = plan.paths[kept[j]], plan.paths[kept[j] + 1], x_uses[word]
                while p < end and root - item(plan.nodes, p) < TOP:
                    place = np.int64(root - item(plan.nodes, p))
                    put(y.uses, first + place, item(y.uses, first + place) + times)
                    put(outputs, used, place)
                    p, used = p + 1, used + 1
                while p < end:
                    place, size = find(y, first, at, np.int64(item(plan.nodes, p)), times, size)
                    put(outputs, used, place)
                    p, used = p + 1, used + 1
            picks[j] = own.begun[word]
        outputs[used : used + LANES] = 0
        for place in range(min(TOP, plan.roots)):
            if item(y.uses, first + place) > 0:
                put(y.places, (root - place) * UNITS + at, np.uint16(place + 1))
        units.spans[slot, 3] = used
        return size
    words = len(plan.keep)
    times = 1 + plan.negative * (last - window) // POOL
    for q in range(POOL):
        bits = draw(key, q)
        word = below(bits >> _HALF, words)
        if (bits & _LOW) > _U64(plan.alias[2 * word]):
            word = np.int64(plan.alias[2 * word + 1])
        place, size = find(y, first, at, word, times, size)
        picks[q] = place
    for j in range(window, last):
        place, size = find(y, first, at, kept[j], 1, size)
        picks[POOL + j] = place
    return size


@helper
def prepare(plan: Any, units: Any, own: Any, x: Any, y: Any, key: Any, number: int) -> None:
    """Unit ``number`` of the text: its words, its windows and the rows it needs. No row is read."""
    window, begin, slot = plan.window, number * UNIT, number % SLOTS
    units.spans[slot], x.sizes[slot], y.sizes[slot] = window, 0, 0
    if begin >= len(plan.ids):
        return
    first, last, behind = sample(plan, units, slot, key, begin, min(begin + UNIT, len(plan.ids)))
    if last == window:
        return
    kept, inputs_of, size, start = units.kept[slot], units.inputs_of[slot], 0, slot * x.rows.shape[1]
    at = places(x, number)
    for j in range(first, behind):
        place, size = find(x, start, at, kept[j], 1, size)
        inputs_of[j] = place
        if plan.tree:
            prefetch(plan.nodes, plan.paths[kept[j]])
            prefetch(plan.nodes, plan.paths[kept[j]] + _LINE // 2)
            prefetch(plan.labels, plan.paths[kept[j]])
    x.sizes[slot, 0] = size
    own.begun[:size] = -1
    key, at = draw(key, -2 - number), places(y, number)
    y.sizes[slot, 0] = find_outputs(plan, units, own, slot, at, key, last, x.uses[slot], y)
    units.spans[slot, 0], units.spans[slot, 1], units.spans[slot, 2] = first, last, behind


@inlined
def pick(plan: Any, picks: Any, j: int, outputs: Any, first: int) -> int:
    """The outputs of a word: itself and its negatives, from ``first`` on; returns how many there are.

    Windows take the pool in its order, so that each of its words is used as often as the others.
    """
    target = item(picks, POOL + j)
    put(outputs, first, target)
    count, place = 1, (j - plan.window) * plan.negative
    for number in range(plan.negative):
        negative = item(picks, (place + number) & (POOL - 1))
        put(outputs, first + count, negative)
        count += negative != target  # the word itself is no negative
    return count


@helper
def train_unit(plan: Any, units: Any, own: Any, x: Any, y: Any, number: int, rate: Any) -> None:
    """Unit ``number`` of the text, which `prepare` made ready, as all of its round."""
    window, width, slot, unit = plan.window, plan.width, number % SLOTS, number % UNITS
    begin, last, behind, paths = units.spans[slot]
    if last == window:
        return
    if len(plan.grams):
        fetch_means(plan, x, units.before[unit], slot, unit)
    else:
        fetch(x, number, width)
    fetch(y, number, width)
    kept, inputs_of, outputs, picks = units.kept[slot], units.inputs_of[slot], units.outputs[slot], units.picks[slot]
    found(inputs_of, begin, behind, x.at, slot * x.rows.shape[1])
    if plan.tree:
        found(outputs, 0, paths, y.at, slot * y.rows.shape[1])
    else:
        found(picks, 0, POOL, y.at, slot * y.rows.shape[1])
        found(picks, POOL + window, POOL + last, y.at, slot * y.rows.shape[1])
    group, inputs = 0, 0
    for j in range(window, last):
        low, high = (
            max(units.starts[slot, j], j - units.reach[slot, j]),
            min(units.ends[slot, j], j + units.reach[slot, j]),
        )
        if high > low:
            for q in range(window):  # always so many, which a processor likes; what is too much is overwritten
                put(own.inputs, inputs + q, item(inputs_of, low + q))
            for q in range(window):
                put(own.inputs, inputs + j - low + q, item(inputs_of, j + 1 + q))
            if plan.tree:
                own.windows[group, 2], own.froms[group] = picks[j], plan.paths[kept[j]]
                own.windows[group, 3] = plan.paths[kept[j] + 1] - plan.paths[kept[j]]
            else:
                own.windows[group, 2] = group * (plan.negative + LANES)
                own.windows[group, 3] = pick(plan, picks, j, outputs, group * (plan.negative + LANES))
            own.windows[group, 0], own.windows[group, 1] = inputs, inputs + high - low
            inputs, group = inputs + high - low, group + 1
        if group == GROUP or (j == last - 1 and group > 0):
            if plan.cbow:
                learn_cbow(group, plan, own, x.floats, y.floats, outputs, rate)
            else:
                learn_skipgram(group, plan, own, x.floats, y.floats, outputs, rate)
            group, inputs = 0, 0


@helper
def rate_at(word: Any, rates: Any) -> Any:
    """The learning rate at a word of the epoch. ``rates``: at the start and the end of training, the words trained on
    before this epoch, those of all epochs."""
    start, end, before, total = rates
    return np.float32(max(end, start - (start - end) * ((before + word) / total)))


@kernel
def train_rounds(
    plan: Plan,
    units: Units,
    own: Scratch,
    x: Matrix,
    y: Matrix,
    uses: Longs,
    key: int,
    rates: tuple[float, float, float, float],
    first: int,
    last: int,
    thread: int,
    threads: int,
    meeting: Longs,
    system: System,
) -> int:
    """One thread's share of the rounds ``first`` to ``last`` of an epoch. All threads of a team call it at once.

    ``uses``: a zero for each row of x, with n-grams. ``meeting`` and ``system`` are those of
    `nlpkit.vectors.word2vec.rounds`.
    """
    for r in range(first - 1, last):
        while True:
            u = team.take(meeting)
            if u >= 2 * UNITS:
                break
            number = r * UNITS + u
            if u < UNITS and r >= first:
                train_unit(plan, units, own, x, y, number, rate_at(number * UNIT, rates))
            elif u >= UNITS and r + 1 < last:
                if r - 1 >= first:  # of that round this one has the tables
                    forget(x, number - 2 * UNITS)
                    forget(y, number - 2 * UNITS)
                prepare(plan, units, own, x, y, _U64(key), number)
        team.wait(meeting, threads, system)
        if thread == 0:
            team.wipe(meeting)
        if r >= first:
            rate, slot = rate_at(r * UNITS * UNIT, rates), r * UNITS % SLOTS
            if len(plan.grams):
                merge_means(plan, x, units, slot, uses, thread, threads, rate)
            else:
                merge(x, plan.width, slot, own, thread, threads, rate)
            merge(y, plan.width, slot, own, thread, threads, rate)
        team.wait(meeting, threads, system)
    if thread == 0:
        for number in range(max(first, last - 2) * UNITS, last * UNITS):
            forget(x, number)
            forget(y, number)
    return 0


@kernel
def fill(share: Doubles, other: Longs, small: Longs, large: Longs) -> int:
    """Give outcomes below an even share what they lack, from those above it (Vose 1991). The last two are memory."""
    smalls, larges = 0, 0
    for n in range(len(share)):
        if share[n] < 1:
            small[smalls], smalls = n, smalls + 1
        else:
            large[larges], larges = n, larges + 1
    while smalls > 0 and larges > 0:
        smalls, larges = smalls - 1, larges - 1
        taker, giver = small[smalls], large[larges]
        other[taker] = giver
        share[giver] -= 1 - share[taker]
        if share[giver] < 1:
            small[smalls], smalls = giver, smalls + 1
        else:
            large[larges], larges = giver, larges + 1
    for n in range(smalls):  # what rounding left over
        share[small[n]] = 1
    for n in range(larges):
        share[large[n]] = 1
    return 0
