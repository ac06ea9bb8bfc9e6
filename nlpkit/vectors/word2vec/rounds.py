"""The constants and data structures of a round of word2vec, and its kernels (`nlpkit.vectors.word2vec.word2vec`).

The kernels are in modules of their own, which are imported only to compile them.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpkit.machine.kernel import Floats, Floats2, Ints, Longs, Longs2, Shorts, Words
from nlpkit.machine.native import Kernels

UNIT = 256  # words of the text, before subsampling
UNITS = 4  # of a round; as many 16-bit integers fit in one of 64 bits
SLOTS = 2 * UNITS
POOL = 256  # negatives drawn for a unit; a power of two
GROUP = 4  # windows scored together
TOP = 256  # nodes from the root down, with which most paths begin; every unit has them, at fixed local indices
LINE = 16  # distance of 64-bit integers that must not be in the same cache line

KERNELS = Kernels("nlpkit.vectors.word2vec.word2vec")


class Plan(NamedTuple):
    """The constants of a run.

    ``ids`` [N], ``offsets`` [S + 1]: the text. ``keep`` [V] uint32: a word stays when 32 random bits are not above it.
    ``alias`` [2 V] uint32: the table of Walker's method, for each word a threshold and another word. ``nodes`` and
    ``labels`` [P + 8], ``paths`` [V + 1], ``roots`` = R: the tree (`nlpkit.vectors.word2vec.huffman`), whose nodes have
    lower numbers the farther they are from the root; without a tree ``labels`` begin 1, 0, 0... ``grams`` and
    ``gram_ends``: the rows of x whose mean is the input of a word; empty when it is its own row. ``bias``: the column
    of x that is always 1, or -1. ``mask`` [W]: 1 in the trainable columns of x.
    """

    ids: Ints
    offsets: Longs
    window: int
    keep: Words
    negative: int
    alias: Words
    nodes: Ints
    labels: Floats
    paths: Longs
    roots: int
    grams: Longs
    gram_ends: Longs
    cbow: bool
    tree: bool
    mean: bool
    divide: bool
    bias: int
    mask: Floats
    width: int


class Matrix(NamedTuple):
    """A matrix, and the rows that units use. Unit n of the text has row n % SLOTS of the [SLOTS, K] arrays.

    ``floats`` [(rows + UNITS * K) * W]: the matrix, then K rows for the copies of each unit of a round. ``local`` [2 *
    rows * UNITS] uint16: 1 + the local index of each row in each unit of two rounds, 0 when the unit does not use it;
    ``users`` [2 * rows] int64 is a view of the same memory: all `UNITS` entries of a row as one integer.

        users[r], 64 bits:  [ unit 3 | unit 2 | unit 1 | unit 0 ]   16 bits each, as in ``local[UNITS * r + unit]``
    """

    floats: Floats
    copies: int  # the offset of the copies in ``floats``
    local: Shorts
    users: Longs
    rows: Longs2  # [SLOTS, K]: the rows that a unit uses; their index here is the local index
    uses: Longs2  # [SLOTS, K]: the number of windows that use each
    at: Longs2  # [SLOTS, K]: the offset of each in ``floats``
    shared: Longs2  # [SLOTS, K]: the rows that later units of the round use too, and no earlier one
    sharers: Longs2  # [SLOTS, K]: their ``users``
    sizes: Longs2  # [SLOTS, 2]: the numbers of rows and of shared rows


class Units(NamedTuple):
    """The state of the units of two rounds, [SLOTS, ...]: one round trains while the next is prepared."""

    sampled: Longs2  # the words that survive subsampling, with up to `window` words before the unit and after it
    inputs_of: Longs2  # the input row of each
    starts: Longs2  # the first word of the sentence of each
    ends: Longs2
    reach: Longs2
    picks: Longs2  # the output rows of the pool and of the words; with a tree, where a word's path begins in `outputs`
    outputs: Longs2  # rows of outputs: of a group of windows, or of all paths
    spans: Longs2  # [SLOTS, 4]: the first word, the ends of the unit's and of all words; the length of `outputs`
    before: Floats2  # [UNITS, K * W]: the inputs before training (with n-grams only)


class Scratch(NamedTuple):
    """The workspace of a thread; nothing in it outlives a unit."""

    inputs: Longs  # offsets of the rows of inputs
    windows: Longs2  # [GROUP, 4]: begin and end of inputs, begin and number of outputs
    label_starts: Longs  # [GROUP]: the offset of the labels
    path_starts: Longs  # the start of the path of each input
    scores: Floats
    hidden: Floats  # [GROUP * W]
    error: Floats  # [GROUP * W]
    holders: Longs  # [UNITS]: the offsets of the copies of a shared row


class System(NamedTuple):
    """The addresses of the system functions with which threads wait for each other; 0: not available."""

    yield_cpu: int  # sched_yield or SwitchToThread
    syscall: int  # syscall(2) of Linux, which calls futex(2)
    futex: int  # the number of that system call


def team_state() -> NDArray[np.int64]:
    """The counters of one team of threads."""
    return np.zeros(4 * LINE, np.int64)


def system() -> System:
    """The functions of this system."""
    if sys.platform == "win32":
        return System(_address(ctypes.WinDLL("kernel32").SwitchToThread), 0, 0)
    library = ctypes.CDLL(None)
    futex = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0) if sys.platform == "linux" else 0
    return System(_address(library.sched_yield), _address(library.syscall) if futex else 0, futex)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
