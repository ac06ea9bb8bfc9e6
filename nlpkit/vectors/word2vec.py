"""The kernel of word2vec: how text becomes steps, and why every number of threads takes the same ones.

word2vec (Mikolov et al. 2013a, 2013b) reads a text word by word. Around each word it opens a window; the window's
words predict the word in the middle through two matrices, inputs x and outputs y, by logistic regressions: on the word
and on some drawn ones (negative sampling, noise-contrastive estimation), or on the nodes of the word's path in a
Huffman tree (hierarchical softmax). All three are one thing here: a window has inputs, outputs and a label for each
output, and y moves by rate (label - sigmoid(x . y)) x, x likewise along y.

**Rounds.** The usual program lets threads write to the same matrices at the same time, so each run gives other vectors.
Here the text is cut in units of `UNIT` words and rounds of `UNITS` units; both are numbers of the algorithm and not of
the machine.

1. Each unit of a round reads the rows it needs, into memory of its own, from matrices that nobody changes meanwhile,
   and trains on its words, one window after the other. Units do not see each other, so threads may take them in
   any order.
2. When all are done their rows are merged. A row that one unit used is put back. A row that k units used gets the sum
   of what they changed, in the order of the units, scaled as `shrink` says. Each row belongs to one thread, and which
   one does not matter, as rows do not depend on each other.

So a round is a function of the matrices and of the text, and so is the result; threads only share its work.

**Draws.** Whether a word is kept (subsampling), and how wide its window is, are a function of the epoch's key and of
its place in the text; the unit before and the unit after can know them without asking. Negatives belong to a unit:
`POOL` words are drawn from the noise for it, and its windows take them in turn, over and over. All inputs of a window
share its own (Ji et al. 2016, section 4).

**Order within a unit.** `GROUP` windows are scored, then they learn, one after the other. A skip-gram window has its
words as inputs, each of which predicts by itself (as word2vec.c has it; the paper turns it round). A CBOW window has
one input, the mean or the sum of its words, and its gradient goes to each of them.

**What makes it fast.** The products of a window stay in registers (`nlpkit.vectors.products`). A unit's rows fit in a
core's own cache, and a row that many of its windows use is read once and merged once. Rows begin where lines of the
cache do. Rows that come from memory are asked for ahead. All of a unit's work is one piece of machine code, in which no
index is checked and no reference counted.

Shapes: N words of the text, S sentences, V words of the vocabulary, R outputs, W the width filled up to a multiple of
sixteen; matrices are flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.compiled import compiled
from nlpkit.simd import LANES, WIDE, add, item, load, load16, mul, prefetch, put, splat, store
from nlpkit.vectors import team
from nlpkit.vectors.merging import merge, merge_means
from nlpkit.vectors.rounds import GROUP, POOL, TOP, UNIT, UNITS
from nlpkit.vectors.windows import learn_cbow, learn_skipgram

_AHEAD = 8  # rows: so early they are asked for
_LINE = 16  # floats that come from memory together

_U64 = np.uint64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@compiled(inline="always")
def draw(key: Any, number: Any) -> Any:
    """64 random bits: number ``number`` of the sequence ``key`` (SplitMix64; Steele et al. 2014, figure 14)."""
    z = key + _GOLDEN * _U64(number + 1)
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


@compiled(inline="always")
def below(bits: Any, limit: Any) -> Any:
    """32 random bits as a number from 0 to less than ``limit``."""
    return np.int64((bits * _U64(limit)) >> _HALF)


@compiled()
def sample(plan: Any, own: Any, key: Any, begin: int, end: int) -> Any:
    """The words of a unit that stay, and as many around it as windows may need.

    Returns the place of the first word in ``kept``, that behind the unit's last, and that behind the last. The unit's
    own words begin at ``window``.
    """
    ids, offsets, keep, window = plan.ids, plan.offsets, plan.keep, plan.window
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
            own.kept[first] = ids[i]
        i -= 1
    place, start, boundary = window, first, offsets[sentence + 1]
    for i in range(begin, end):
        if i >= boundary:
            while i >= boundary:
                sentence += 1
                boundary = offsets[sentence + 1]
            own.ends[max(start, window) : place] = place - 1
            start = place
        bits = draw(key, i)
        if (bits >> _HALF) <= _U64(keep[ids[i]]):
            if plan.tree:
                prefetch(plan.paths, ids[i])
            own.kept[place] = ids[i]
            own.starts[place] = start
            own.reach[place] = 1 + below(bits & _LOW, window)
            place += 1
    last, i = place, end
    while i < boundary and place < last + window:
        if (draw(key, i) >> _HALF) <= _U64(keep[ids[i]]):
            own.kept[place] = ids[i]
            place += 1
        i += 1
    own.ends[max(start, window) : last] = place - 1
    return first, last, place


@compiled(inline="always")
def find(row: Any, times: Any, rows: Any, uses: Any, size: Any, places: Any) -> Any:
    """Where a row is in the unit's memory, and how many rows are there now. No branch: half of the rows are new, and
    no processor foresees which."""
    place = np.int64(item(places, row))
    new = place < 0
    place = size if new else place
    used = 0 if new else item(uses, place)
    put(places, row, np.int32(place))
    put(rows, place, np.int64(row))
    put(uses, place, np.int64(used + times))
    return place, size + new


@compiled()
def fetch(local: Any, rows: Any, size: int, matrix: Any, width: int) -> None:
    """Read rows of a matrix."""
    for s in range(size):
        if s + _AHEAD < size:
            for c in range(0, width, _LINE):
                prefetch(matrix, item(rows, s + _AHEAD) * width + c)
        row, to = item(rows, s) * width, s * width
        for c in range(0, width, WIDE):
            store(local, to + c, load16(matrix, row + c))


@compiled()
def fetch_means(local: Any, before: Any, words: Any, size: int, x: Any, plan: Any) -> None:
    """Read inputs that are means: of a word's own row and those of its n-grams (Bojanowski et al. 2017, 3.2)."""
    width = plan.width
    for s in range(size):
        begin, end, to = plan.gram_ends[words[s]], plan.gram_ends[words[s] + 1], s * width
        share = splat(np.float32(1) / np.float32(end - begin))
        for c in range(0, width, LANES):
            total = splat(np.float32(0))
            for g in range(begin, end):
                total = add(total, load(x, plan.grams[g] * width + c))
            store(local, to + c, mul(total, share))
            store(before, to + c, mul(total, share))


@compiled()
def find_outputs(plan: Any, own: Any, key: Any, last: int, x_uses: Any, y_rows: Any, y_uses: Any) -> Any:
    """Where the output rows of a unit's windows will be; how many there are."""
    window, width, kept, size = plan.window, plan.width, own.kept, 0
    if plan.tree:
        root = plan.roots - 1
        for size in range(min(TOP, plan.roots)):
            y_rows[size], y_uses[size] = root - size, 0
        size, used = min(TOP, plan.roots), 0
        for j in range(window, last):
            word = own.inputs_of[j] // width
            if own.picks[word] < 0:
                own.picks[word] = used
                p, end, times = plan.paths[kept[j]], plan.paths[kept[j] + 1], x_uses[word]
                while p < end and root - item(plan.nodes, p) < TOP:
                    place = np.int64(root - item(plan.nodes, p))
                    put(y_uses, place, item(y_uses, place) + times)
                    put(own.outputs, used, place * width)
                    p, used = p + 1, used + 1
                while p < end:
                    place, size = find(np.int64(item(plan.nodes, p)), times, y_rows, y_uses, size, own.y_places)
                    put(own.outputs, used, place * width)
                    p, used = p + 1, used + 1
        return size
    words = len(plan.keep)
    times = 1 + plan.negative * (last - window) // POOL
    for q in range(POOL):
        bits = draw(key, q)
        word = below(bits >> _HALF, words)
        if (bits & _LOW) > _U64(plan.alias[2 * word]):
            word = np.int64(plan.alias[2 * word + 1])
        place, size = find(word, times, y_rows, y_uses, size, own.y_places)
        own.picks[q] = place * width
    for j in range(window, last):
        place, size = find(kept[j], 1, y_rows, y_uses, size, own.y_places)
        own.picks[POOL + j] = place * width
    return size


@compiled(inline="always")
def pick(plan: Any, own: Any, j: int, first: int) -> int:
    """The outputs of a word: itself and its negatives, from ``first`` on; returns how many there are.

    Windows take the pool in its order, so that each of its words is used as often as the others.
    """
    target = item(own.picks, POOL + j)
    put(own.outputs, first, target)
    count, place = 1, (j - plan.window) * plan.negative
    for number in range(plan.negative):
        negative = item(own.picks, (place + number) & (POOL - 1))
        put(own.outputs, first + count, negative)
        count += negative != target  # the word itself is no negative
    return count


@compiled()
def train_unit(plan: Any, own: Any, buffers: Any, x: Any, y: Any, key: Any, u: int, number: int, rate: Any) -> None:
    """Unit ``number`` of the text, in the memory of unit ``u`` of its round."""
    window, width, begin = plan.window, plan.width, number * UNIT
    a, x_rows, x_uses = buffers.x[u], buffers.x_rows[u], buffers.x_uses[u]
    b, y_rows, y_uses = buffers.y[u], buffers.y_rows[u], buffers.y_uses[u]
    buffers.sizes[u] = 0
    if begin >= len(plan.ids):
        return
    first, last, behind = sample(plan, own, key, begin, min(begin + UNIT, len(plan.ids)))
    if last == window:
        return
    x_size = 0
    for j in range(first, behind):
        place, x_size = find(own.kept[j], 1, x_rows, x_uses, x_size, own.x_places)
        own.inputs_of[j] = place * width
        if plan.tree:
            prefetch(plan.nodes, plan.paths[own.kept[j]])
            prefetch(plan.nodes, plan.paths[own.kept[j]] + _LINE // 2)
            prefetch(plan.labels, plan.paths[own.kept[j]])
    if len(plan.grams):
        fetch_means(a, buffers.before[u], x_rows, x_size, x, plan)
    else:
        fetch(a, x_rows, x_size, x, width)
    own.picks[:x_size] = -1
    unit_key = draw(key, -2 - number)
    y_size = find_outputs(plan, own, unit_key, last, x_uses, y_rows, y_uses)
    fetch(b, y_rows, y_size, y, width)
    group, inputs, outputs = 0, 0, 0
    for j in range(window, last):
        low, high = max(own.starts[j], j - own.reach[j]), min(own.ends[j], j + own.reach[j])
        if high > low:
            for q in range(window):  # always so many, which a processor likes; what is too much is overwritten
                put(own.inputs, inputs + q, item(own.inputs_of, low + q))
            for q in range(window):
                put(own.inputs, inputs + j - low + q, item(own.inputs_of, j + 1 + q))
            if plan.tree:
                outputs, own.froms[group] = own.picks[own.inputs_of[j] // width], plan.paths[own.kept[j]]
                count = plan.paths[own.kept[j] + 1] - plan.paths[own.kept[j]]
            else:
                outputs = group * (plan.negative + LANES)
                count = pick(plan, own, j, outputs)
            own.windows[group, 0], own.windows[group, 1] = inputs, inputs + high - low
            own.windows[group, 2], own.windows[group, 3] = outputs, count
            inputs, group = inputs + high - low, group + 1
        if group == GROUP or (j == last - 1 and group > 0):
            if plan.cbow:
                learn_cbow(group, plan, own, a, b, rate)
            else:
                learn_skipgram(group, plan, own, a, b, rate)
            group, inputs = 0, 0
    for s in range(x_size):
        own.x_places[x_rows[s]] = -1
    for s in range(min(TOP, plan.roots) if plan.tree else 0, y_size):
        own.y_places[y_rows[s]] = -1
    buffers.sizes[u, 0], buffers.sizes[u, 1] = x_size, y_size


@compiled()
def rate_at(word: Any, rates: Any) -> Any:
    """The learning rate at a word of the epoch. ``rates``: at the start and the end of training, the words trained on
    before this epoch, those of all epochs."""
    start, end, before, total = rates
    return np.float32(max(end, start - (start - end) * ((before + word) / total)))


@compiled(allocates=False)
def train_rounds(
    plan: Any, own: Any, buffers: Any, x: Any, y: Any, uses: Any, key: Any, rates: Any, first: int, last: int,
    thread: int, threads: int, meeting: Any, give_way: int,
) -> int:  # fmt: skip
    """One thread's share of the rounds ``first`` to ``last`` of an epoch. All threads of a team call it at once.

    ``uses``: two arrays of zeros, one number a row of x and of y. ``meeting`` and ``give_way`` are those of
    `nlpkit.vectors.rounds`.
    """
    for r in range(first, last):
        while True:
            u = team.take(meeting, r & 1)
            if u >= UNITS:
                break
            number = r * UNITS + u
            train_unit(plan, own, buffers, x, y, _U64(key), u, number, rate_at(number * UNIT, rates))
        team.wait(meeting, threads, give_way)
        if thread == 0:
            team.wipe(meeting, r & 1)
        rate = rate_at(r * UNITS * UNIT, rates)
        if len(plan.grams):
            merge_means(x, plan, buffers, own, uses[0], thread, threads, rate)
        else:
            merge(x, plan.width, buffers.x, buffers.x_rows, buffers.x_uses, buffers.sizes[:, 0], own, uses[0],
                  thread, threads, rate)  # fmt: skip
        merge(y, plan.width, buffers.y, buffers.y_rows, buffers.y_uses, buffers.sizes[:, 1], own, uses[1],
              thread, threads, rate)  # fmt: skip
        team.wait(meeting, threads, give_way)
    return 0


@compiled(allocates=False)
def fill(share: Any, other: Any, small: Any, large: Any) -> int:
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
