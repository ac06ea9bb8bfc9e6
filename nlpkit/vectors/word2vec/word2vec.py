"""The kernel of word2vec: how text becomes update steps, and why they do not depend on the number of threads.

word2vec (Mikolov et al. 2013a, 2013b) reads a text word by word. Around each word it opens a window; the window's
words predict the word in the middle through two matrices, inputs x and outputs y, by logistic regressions: on the word
and on some drawn ones (negative sampling, noise-contrastive estimation), or on the nodes of the word's path in a
Huffman tree (hierarchical softmax). All three have one form here: a window has inputs, outputs and a label for each
output, and y is updated by rate (label - sigmoid(x . y)) x, and x likewise along y.

**Rounds.** In word2vec.c threads write to the same matrices at the same time, so that each run gives other vectors.
Here the text is cut into units of `UNIT` words and rounds of `UNITS` units; both are constants of the algorithm and not
of the machine.

    round r      train_unit 0 .. UNITS-1      merge      round r + 1  ...
    round r + 1  prepare    0 .. UNITS-1 (by idle threads)

1. `prepare` determines the sampled words of a unit, their windows and the rows they need, before any row is read. It
   needs the text only, so a thread without a unit to train prepares one of the next round.
2. `train_unit` trains on the words of a unit, one window after the other. A row that no other unit of the round needs
   is trained in place; of any other row the unit trains a copy, made when it begins, and the matrix keeps the old
   values. So units do not see each other's updates, and threads may take them in any order.
3. Then the copies are merged. A row that k units used gets the sum of their changes, in the order of the units, scaled
   by `shrink`. Any thread may do it, as rows do not depend on each other.

So a round, and the result, is a function of the matrices and of the text; threads only divide the work.

**Draws.** Whether a word is kept (subsampling), and how wide its window is, are a function of the epoch's key and of
its position in the text, so that the units before and after can compute them too. Negatives belong to a unit: `POOL`
words are drawn from the noise for it, and its windows take them in turn, cyclically. All inputs of a window share its
negatives (Ji et al. 2016, section 4).

**Order within a unit.** `GROUP` windows are scored, then each updates its rows, one after the other. The inputs of a
skip-gram window are its words, each of which predicts by itself (as in word2vec.c; the paper has it the other way
round). A CBOW window has one input, the mean or the sum of its words, and its gradient goes to each of them.

**What makes it fast.** The products of a window stay in registers (`nlpkit.vectors.word2vec.products`). The rows of a
unit fit in the private cache of a core, into which they are prefetched before it begins
(`nlpkit.vectors.word2vec.fetching`); those that no other unit needs are not copied. Rows are aligned to cache lines,
and the matrices are in huge pages. A unit is one piece of machine code, without bounds checks and reference counts.

Shapes: N words of the text, S sentences, V words of the vocabulary, R outputs, W the width padded to a multiple of
sixteen; matrices are flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.machine.kernel import Doubles, Longs, helper, inlined, kernel
from nlpkit.machine.simd import LANES, item, prefetch, put
from nlpkit.vectors.word2vec import team
from nlpkit.vectors.word2vec.fetching import fetch, fetch_means, find, forget, local_base, resolve
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

_LINE = 16  # floats of a cache line

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
    """Sample the words of a unit, and as many around it as windows may need.

    Returns positions in ``units.sampled``: of the first word, behind the unit's last word, and behind the last word.
    The words of the unit begin at ``window``.
    """
    ids, offsets, keep, window = plan.ids, plan.offsets, plan.keep, plan.window
    sampled, starts, ends, reach = units.sampled[slot], units.starts[slot], units.ends[slot], units.reach[slot]
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
            sampled[first] = ids[i]
        i -= 1
    position, start, boundary = window, first, offsets[sentence + 1]
    for i in range(begin, end):
        if i >= boundary:
            while i >= boundary:
                sentence += 1
                boundary = offsets[sentence + 1]
            ends[max(start, window) : position] = position - 1
            start = position
        bits = draw(key, i)
        if (bits >> _HALF) <= _U64(keep[ids[i]]):
            if plan.tree:
                prefetch(plan.paths, ids[i])
            sampled[position] = ids[i]
            starts[position] = start
            reach[position] = 1 + below(bits & _LOW, window)
            position += 1
    last, i = position, end
    while i < boundary and position < last + window:
        if (draw(key, i) >> _HALF) <= _U64(keep[ids[i]]):
            sampled[position] = ids[i]
            position += 1
        i += 1
    ends[max(start, window) : last] = position - 1
    return first, last, position


@helper
def find_outputs(
    plan: Any, units: Any, scratch: Any, slot: int, at: int, key: Any, last: int, x_uses: Any, y: Any
) -> Any:
    """Set the output rows of a unit's windows; returns their number. ``at``: the unit's `local_base` in y."""
    window, sampled, size, first = plan.window, units.sampled[slot], 0, slot * y.rows.shape[1]
    picks, inputs_of, outputs = units.picks[slot], units.inputs_of[slot], units.outputs[slot]
    if plan.tree:
        root = plan.roots - 1
        size, used = min(TOP, plan.roots), 0
        local: Any
        for local in range(size):
            put(y.rows, first + local, np.int64(root - local))
            put(y.uses, first + local, np.int64(0))
        for j in range(window, last):
            word = inputs_of[j]
            if scratch.path_starts[word] < 0:
                scratch.path_starts[word] = used
                p, end, times = plan.paths[sampled[j]], plan.paths[sampled[j] + 1], x_uses[word]
                while p < end and root - item(plan.nodes, p) < TOP:
                    local = np.int64(root - item(plan.nodes, p))
                    put(y.uses, first + local, item(y.uses, first + local) + times)
                    put(outputs, used, local)
                    p, used = p + 1, used + 1
                while p < end:
                    local, size = find(y, first, at, np.int64(item(plan.nodes, p)), times, size)
                    put(outputs, used, local)
                    p, used = p + 1, used + 1
            picks[j] = scratch.path_starts[word]
        outputs[used : used + LANES] = 0
        for local in range(min(TOP, plan.roots)):
            if item(y.uses, first + local) > 0:
                put(y.local, (root - local) * UNITS + at, np.uint16(local + 1))
        units.spans[slot, 3] = used
        return size
    words = len(plan.keep)
    times = 1 + plan.negative * (last - window) // POOL
    for q in range(POOL):
        bits = draw(key, q)
        word = below(bits >> _HALF, words)
        if (bits & _LOW) > _U64(plan.alias[2 * word]):
            word = np.int64(plan.alias[2 * word + 1])
        local, size = find(y, first, at, word, times, size)
        picks[q] = local
    for j in range(window, last):
        local, size = find(y, first, at, sampled[j], 1, size)
        picks[POOL + j] = local
    return size


@helper
def prepare(plan: Any, units: Any, scratch: Any, x: Any, y: Any, key: Any, number: int) -> None:
    """Set the words, windows and rows of unit ``number`` of the text. No row is read."""
    window, begin, slot = plan.window, number * UNIT, number % SLOTS
    units.spans[slot], x.sizes[slot], y.sizes[slot] = window, 0, 0
    if begin >= len(plan.ids):
        return
    first, last, behind = sample(plan, units, slot, key, begin, min(begin + UNIT, len(plan.ids)))
    if last == window:
        return
    sampled, inputs_of, size, start = units.sampled[slot], units.inputs_of[slot], 0, slot * x.rows.shape[1]
    at = local_base(x, number)
    for j in range(first, behind):
        local, size = find(x, start, at, sampled[j], 1, size)
        inputs_of[j] = local
        if plan.tree:
            prefetch(plan.nodes, plan.paths[sampled[j]])
            prefetch(plan.nodes, plan.paths[sampled[j]] + _LINE // 2)
            prefetch(plan.labels, plan.paths[sampled[j]])
    x.sizes[slot, 0] = size
    scratch.path_starts[:size] = -1
    key, at = draw(key, -2 - number), local_base(y, number)
    y.sizes[slot, 0] = find_outputs(plan, units, scratch, slot, at, key, last, x.uses[slot], y)
    units.spans[slot, 0], units.spans[slot, 1], units.spans[slot, 2] = first, last, behind


@inlined
def pick(plan: Any, picks: Any, j: int, outputs: Any, first: int) -> int:
    """Write the outputs of a word, itself and its negatives, from ``first`` on; returns their number.

    Windows take the negatives of the pool in order, so that all are used equally often.
    """
    target = item(picks, POOL + j)
    put(outputs, first, target)
    count, offset = 1, (j - plan.window) * plan.negative
    for number in range(plan.negative):
        negative = item(picks, (offset + number) & (POOL - 1))
        put(outputs, first + count, negative)
        count += negative != target  # the word itself is no negative
    return count


@helper
def train_unit(plan: Any, units: Any, scratch: Any, x: Any, y: Any, number: int, rate: Any) -> None:
    """Train on unit ``number`` of the text; its round has been prepared."""
    window, width, slot, unit = plan.window, plan.width, number % SLOTS, number % UNITS
    begin, last, behind, paths = units.spans[slot]
    if last == window:
        return
    if len(plan.grams):
        fetch_means(plan, x, units.before[unit], slot, unit)
    else:
        fetch(x, number, width)
    fetch(y, number, width)
    sampled, inputs_of, outputs, picks = (
        units.sampled[slot],
        units.inputs_of[slot],
        units.outputs[slot],
        units.picks[slot],
    )
    resolve(inputs_of, begin, behind, x.at, slot * x.rows.shape[1])
    if plan.tree:
        resolve(outputs, 0, paths, y.at, slot * y.rows.shape[1])
    else:
        resolve(picks, 0, POOL, y.at, slot * y.rows.shape[1])
        resolve(picks, POOL + window, POOL + last, y.at, slot * y.rows.shape[1])
    group, inputs = 0, 0
    for j in range(window, last):
        low, high = (
            max(units.starts[slot, j], j - units.reach[slot, j]),
            min(units.ends[slot, j], j + units.reach[slot, j]),
        )
        if high > low:
            for q in range(window):  # a fixed count is faster; surplus entries are overwritten
                put(scratch.inputs, inputs + q, item(inputs_of, low + q))
            for q in range(window):
                put(scratch.inputs, inputs + j - low + q, item(inputs_of, j + 1 + q))
            if plan.tree:
                scratch.windows[group, 2], scratch.label_starts[group] = picks[j], plan.paths[sampled[j]]
                scratch.windows[group, 3] = plan.paths[sampled[j] + 1] - plan.paths[sampled[j]]
            else:
                scratch.windows[group, 2] = group * (plan.negative + LANES)
                scratch.windows[group, 3] = pick(plan, picks, j, outputs, group * (plan.negative + LANES))
            scratch.windows[group, 0], scratch.windows[group, 1] = inputs, inputs + high - low
            inputs, group = inputs + high - low, group + 1
        if group == GROUP or (j == last - 1 and group > 0):
            if plan.cbow:
                learn_cbow(group, plan, scratch, x.floats, y.floats, outputs, rate)
            else:
                learn_skipgram(group, plan, scratch, x.floats, y.floats, outputs, rate)
            group, inputs = 0, 0


@helper
def rate_at(word: Any, rates: Any) -> Any:
    """The learning rate at a word of the epoch. ``rates``: the initial and final rates, the number of words before this
    epoch, and that of all epochs."""
    start, end, before, total = rates
    return np.float32(max(end, start - (start - end) * ((before + word) / total)))


@kernel
def train_rounds(
    plan: Plan,
    units: Units,
    scratch: Scratch,
    x: Matrix,
    y: Matrix,
    uses: Longs,
    key: int,
    rates: tuple[float, float, float, float],
    first: int,
    last: int,
    thread: int,
    threads: int,
    state: Longs,
    system: System,
) -> int:
    """The work of one thread in the rounds ``first`` to ``last`` of an epoch. All threads of a team call it at once.

    ``uses``: a zero for each row of x, with n-grams. ``state`` and ``system`` come
    from `nlpkit.vectors.word2vec.rounds.team_state` and `system`.
    """
    for r in range(first - 1, last):
        while True:
            u = team.take(state)
            if u >= 2 * UNITS:
                break
            number = r * UNITS + u
            if u < UNITS and r >= first:
                train_unit(plan, units, scratch, x, y, number, rate_at(number * UNIT, rates))
            elif u >= UNITS and r + 1 < last:
                if r - 1 >= first:  # the tables of that round are reused for this one
                    forget(x, number - 2 * UNITS)
                    forget(y, number - 2 * UNITS)
                prepare(plan, units, scratch, x, y, _U64(key), number)
        team.wait(state, threads, system)
        if thread == 0:
            team.wipe(state)
        if r >= first:
            rate, slot = rate_at(r * UNITS * UNIT, rates), r * UNITS % SLOTS
            if len(plan.grams):
                merge_means(plan, x, units, slot, uses, thread, threads, rate)
            else:
                merge(x, plan.width, slot, scratch, thread, threads, rate)
            merge(y, plan.width, slot, scratch, thread, threads, rate)
        team.wait(state, threads, system)
    if thread == 0:
        for number in range(max(first, last - 2) * UNITS, last * UNITS):
            forget(x, number)
            forget(y, number)
    return 0


@kernel
def fill(scaled: Doubles, other: Longs, small: Longs, large: Longs) -> int:
    """Fill an alias table (Vose 1991): outcomes with ``scaled`` < 1 get their remainder from others. The last two
    arguments are workspace."""
    smalls, larges = 0, 0
    for n in range(len(scaled)):
        if scaled[n] < 1:
            small[smalls], smalls = n, smalls + 1
        else:
            large[larges], larges = n, larges + 1
    while smalls > 0 and larges > 0:
        smalls, larges = smalls - 1, larges - 1
        taker, giver = small[smalls], large[larges]
        other[taker] = giver
        scaled[giver] -= 1 - scaled[taker]
        if scaled[giver] < 1:
            small[smalls], smalls = giver, smalls + 1
        else:
            large[larges], larges = giver, larges + 1
    for n in range(smalls):  # left over by rounding
        scaled[small[n]] = 1
    for n in range(larges):
        scaled[large[n]] = 1
    return 0
