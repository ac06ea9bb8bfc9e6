"""What a round of word2vec works with: its sizes, its memory, and the way to its kernels
(`nlpkit.vectors.word2vec.word2vec`).

The kernels and the compiler stand in modules of their own, which are imported to compile them only.
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
UNITS = 4  # of a round; as many 16-bit numbers are one of 64 bits
SLOTS = 2 * UNITS
POOL = 256  # negatives drawn for a unit; a power of two
GROUP = 4  # windows scored together
TOP = 256  # nodes below and with the root, with which most paths begin; every unit has them, in places that are known
LINE = 16  # 64-bit numbers that lie apart so that no two of them share a line of the cache

KERNELS = Kernels("nlpkit.vectors.word2vec.word2vec")


class Plan(NamedTuple):
    """What stays the same throughout a run.

    ``ids`` [N], ``offsets`` [S + 1]: the text. ``keep`` [V] uint32: a word stays when 32 random bits are not above it.
    ``alias`` [2 V] uint32: the table of Walker's method, for each word a threshold and another word. ``nodes`` and
    ``labels`` [P + 8], ``paths`` [V + 1], ``roots`` = R: the tree (`nlpkit.vectors.word2vec.huffman`), whose nodes have
    lower numbers the farther they are from the root; without one ``labels`` begin 1, 0, 0... ``grams`` and
    ``gram_ends``: the rows of x whose mean is the input of a word; empty when it is its own row. ``bias``: the column
    of x that is always 1, or -1. ``mask`` [W]: 1 in the columns of x that learn.
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
    """A matrix, and what the units know of its rows. Unit n of the text has row n % SLOTS of what is [SLOTS, K].

    ``floats`` [(rows + UNITS * K) * W]: the matrix, then K rows for the copies of each unit of a round. ``places``
    [2 * rows * UNITS] uint16: of two rounds, for each row and unit 1 + the place of the row among the unit's, 0 when it
    does not use it; ``users`` [2 * rows] int64 is the same memory, a row's four places at once.
    """

    floats: Floats
    copies: int  # where they begin
    places: Shorts
    users: Longs
    rows: Longs2  # [SLOTS, K]: which rows a unit uses
    uses: Longs2  # [SLOTS, K]: by how many of its windows
    at: Longs2  # [SLOTS, K]: where each begins in ``floats``
    shared: Longs2  # [SLOTS, K]: the rows that other units of the round use as well and none before this one
    sharers: Longs2  # [SLOTS, K]: their ``users``
    sizes: Longs2  # [SLOTS, 2]: how many rows, how many shared


class Units(NamedTuple):
    """What the units of two rounds have of their own, [SLOTS, ...]: one round trains, the next is made ready."""

    kept: Longs2  # the words that stay, `window` of them before the unit and after it
    inputs_of: Longs2  # the input row of each
    starts: Longs2  # the first and the last word of its sentence
    ends: Longs2
    reach: Longs2
    picks: Longs2  # the output rows of the pool and of the words; for the tree, where the path of a word begins
    outputs: Longs2  # rows of outputs: of a group of windows, or of all paths
    spans: Longs2  # [SLOTS, 4]: the first word, the end of the unit's own words, the end; how many rows paths have
    before: Floats2  # [UNITS, K * W]: inputs as they were read (with n-grams only)


class Scratch(NamedTuple):
    """What a thread works with; nothing of it outlives a unit."""

    inputs: Longs  # where rows of inputs begin
    windows: Longs2  # [GROUP, 4]: begin and end of inputs, begin and number of outputs
    froms: Longs  # [GROUP]: where the labels begin
    begun: Longs  # where the path of each input begins
    scores: Floats
    hidden: Floats  # [GROUP * W]
    error: Floats  # [GROUP * W]
    holders: Longs  # [UNITS]: where a shared row is in the memory of each unit that uses it


class System(NamedTuple):
    """Where functions of the system are that threads need to wait for each other; 0: it has none."""

    give_way: int  # that gives the core to another thread
    syscall: int  # by which Linux is asked to let a thread sleep on a number, and to wake it
    futex: int  # the number of that wish


def meeting() -> NDArray[np.int64]:
    """The memory of one team."""
    return np.zeros(4 * LINE, np.int64)


def system() -> System:
    """This system's."""
    if sys.platform == "win32":
        return System(_address(ctypes.WinDLL("kernel32").SwitchToThread), 0, 0)
    library = ctypes.CDLL(None)
    futex = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0) if sys.platform == "linux" else 0
    return System(_address(library.sched_yield), _address(library.syscall) if futex else 0, futex)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
