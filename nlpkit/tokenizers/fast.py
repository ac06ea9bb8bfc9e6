"""A tokenizer as compiled code (kernels.py): text as bytes -> ids of its lines. Python spells what the kernels cannot.

The ids equal those of the tokenizer's `encode_batch`; tests hold the two together. An `Encoder` belongs to one thread;
several may work at the same time, each with its own cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.machine.native import Kernels
from nlpkit.tokenizers import kernels, spelling
from nlpkit.tokenizers.cache import MOST, Spell

KERNELS = Kernels("nlpkit.tokenizers.kernels")
_ASCII_SIGNS = [code for code in range(0x21, 0x7F) if not chr(code).isalnum()]


@dataclass(frozen=True)
class Plan:
    """What the kernels have to know of a tokenizer.

    ``cut`` and ``spell`` are constants of spelling.py. ``pieces`` maps the pieces that a text may contain to their ids;
    ``scores`` [vocabulary] are their log-probabilities (unigram only), ``floor`` is the score of an unknown character.
    ``merges`` are (left, right, joined); ``letters`` [512] are the ids of bytes within a word, then at its end.
    ``python`` spells every chunk that the kernels do not; with ``paired`` also those that contain `` or ''.
    """

    cut: int
    spell: int
    python: Spell
    lower: bool = False
    unknown: int = -1
    longest: int = 1 << 40
    pieces: Mapping[str, int] = field(default_factory=dict)
    scores: Sequence[float] | None = None
    floor: float = 0.0
    merges: Sequence[tuple[int, int, int]] = ()
    letters: NDArray[np.int32] | None = None
    paired: bool = False


@dataclass(frozen=True)
class Lines:
    """An encoded text. ``ids`` of all lines; ``lengths``: ids of each line that is not empty; ``documents``: how many
    such lines precede each end of a document (an empty line); ``words`` and ``bytes`` of these lines."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    documents: NDArray[np.int64]
    words: int
    bytes: int


def usable(*, compile: bool) -> bool:
    """Whether compiled code exists; with ``compile`` it is compiled if it does not."""
    return KERNELS.ready(compile=compile)


class Encoder:
    """``most`` limits the cached bytes and ids, as in cache.py."""

    def __init__(self, plan: Plan, most: int = MOST) -> None:
        self._python, self._most = plan.python, most
        self._kinds, self._fold = _kinds(plan.cut), np.arange(256, dtype=np.uint8)
        if plan.lower:
            self._fold[ord("A") : ord("Z") + 1] += 32
        self._floor = np.array([plan.floor])
        self._letters = np.zeros(512, np.int32) if plan.letters is None else plan.letters
        self._table(plan)
        mark = np.frombuffer(b"##", np.uint8)
        continued = KERNELS.find_node(mark, self._keys, self._values) if plan.spell == spelling.WORDPIECE else -1
        self._rule = np.array([plan.cut, plan.spell, plan.unknown, continued, plan.longest, plan.paired], np.int64)
        self._forget()

    def _table(self, plan: Plan) -> None:
        """Fill the table with the trie of pieces, or with the merges."""
        encoded = [piece.encode("utf-8", "surrogatepass") for piece in plan.pieces]
        text = np.frombuffer(b"".join(encoded), np.uint8)
        size = 1 << max(4, 2 * (len(text) + len(plan.merges))).bit_length()
        self._keys, self._values = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._node_id, self._node_score = np.empty(len(text) + 1, np.int32), np.empty(len(text) + 1)
        ends = np.cumsum(np.array([len(item) for item in encoded], np.int64))
        ids = np.array(list(plan.pieces.values()), np.int32)
        scores = np.zeros(len(ids)) if plan.scores is None else np.array(plan.scores)[ids]
        KERNELS.build_trie(text, ends, ids, scores, self._keys, self._values, self._node_id, self._node_score)
        left, right, joined = np.array(plan.merges, np.int64).reshape(-1, 3).T.copy()
        KERNELS.build_merges(left, right, joined, self._keys, self._values)

    def _forget(self) -> None:
        self._at = np.zeros(8, np.int64)
        self._slots = np.zeros(1 << 10, np.int64)
        self._hashes, self._arena = np.empty(0, np.int64), np.empty(0, np.uint8)
        self._begins = np.zeros(1, np.int64)
        self._row_begin, self._row_size = np.empty(0, np.int64), np.empty(0, np.int32)
        self._row = np.empty(0, np.int32)
        self._scratch(0)

    def _scratch(self, size: int) -> None:
        self._numbers, self._waiting = np.empty(size, np.int32), np.empty(size, np.int64)
        self._counts, self._documents = np.empty(size, np.int32), np.empty(size, np.int64)
        self._piece, self._by, self._score = (np.empty(size + 4, kind) for kind in (np.int32, np.int64, np.float64))

    def _reserve(self, text: NDArray[np.uint8]) -> None:
        """Enlarge the buffers for the worst case: a chunk after every separator, an id for each byte and chunk."""
        chunks, ids, size = int(self._at[kernels.CHUNKS]), int(self._at[kernels.IDS]), len(text)
        if len(self._numbers) < size:
            self._scratch(size)
        more = KERNELS.count_separators(text) + 1
        if chunks + more > len(self._hashes):
            capacity = (chunks + more) * 5 // 4
            self._hashes, self._row_begin = _grown(self._hashes, capacity), _grown(self._row_begin, capacity)
            self._row_size, self._begins = _grown(self._row_size, capacity), _grown(self._begins, capacity + 1)
            self._slots = np.zeros(1 << (capacity * 4 // 3).bit_length(), np.int64)  # few, so that they stay in cache
            KERNELS.fill_slots(self._slots, self._hashes, chunks)
        if int(self._begins[chunks]) + size > len(self._arena):
            self._arena = _grown(self._arena, 2 * (int(self._begins[chunks]) + size))
        if ids + 2 * size > len(self._row):
            self._row = _grown(self._row, 2 * (ids + 2 * size))

    def encode(self, text: bytes) -> Lines:
        """The ids of each line. ``text`` is UTF-8 without NUL whose lines each end with a line feed."""
        if self._at[kernels.WAITING]:  # left by a text that was interrupted while Python spelled
            self._forget()
        codes = np.frombuffer(text, np.uint8)
        self._reserve(codes)
        at = self._at
        KERNELS.scan(
            codes,
            self._kinds,
            self._fold,
            self._rule,
            self._floor,
            self._letters,
            self._keys,
            self._values,
            self._node_id,
            self._node_score,
            self._slots,
            self._hashes,
            self._begins,
            self._arena,
            self._row_begin,
            self._row_size,
            self._row,
            self._waiting,
            at,
            self._numbers,
            self._counts,
            self._documents,
            self._piece,
            self._by,
            self._score,
        )
        if at[kernels.WAITING]:
            self._spell_in_python(self._waiting[: int(at[kernels.WAITING])])
        numbers = self._numbers[: int(at[kernels.TEXT_CHUNKS])]
        lengths = np.empty(int(at[kernels.SENTENCES]), np.int64)
        ids = np.empty(int(self._row_size[numbers].sum()), np.int32)
        KERNELS.gather(numbers, self._counts[: len(lengths)], self._row_begin, self._row_size, self._row, ids, lengths)
        documents = self._documents[: int(at[kernels.DOCUMENTS])].copy()
        lines = Lines(ids, lengths, documents, int(at[kernels.WORDS]), int(at[kernels.SIZE]))
        chunks = int(at[kernels.CHUNKS])
        if int(self._begins[chunks]) + int(at[kernels.IDS]) > self._most:
            self._forget()
        return lines

    def _spell_in_python(self, waiting: NDArray[np.int64]) -> None:
        """Let Python spell the ``waiting`` chunks."""
        arena = self._arena
        begins, ends = self._begins[waiting].tolist(), self._begins[waiting + 1].tolist()
        rows = self._python([arena[begin:end].tobytes().decode() for begin, end in zip(begins, ends, strict=True)])
        used = int(self._at[kernels.IDS])
        if used + len(rows.ids) > len(self._row):
            self._row = _grown(self._row, 2 * (used + len(rows.ids)))
        self._row[used : used + len(rows.ids)] = rows.ids
        self._row_begin[waiting] = rows.begin + used
        self._row_size[waiting] = rows.size
        self._at[kernels.IDS] = used + len(rows.ids)
        self._at[kernels.WAITING] = 0


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """A copy of the array that can hold ``size`` numbers."""
    new = np.empty(size, array.dtype)
    new[: len(array)] = array
    return new


def _kinds(cut: int) -> NDArray[np.uint8]:
    """The class of each byte: constants of spelling.py, or-ed."""
    kinds = np.zeros(256, np.uint8)
    kinds[[9, 11, 12, 13, 32]] = spelling.WHITE
    kinds[[11, 12, 28, 29, 30, 31]] |= spelling.ODD
    kinds[128:] = spelling.HIGH
    if cut == spelling.BASIC:
        kinds[_ASCII_SIGNS] = spelling.SIGN
        kinds[[*range(1, 9), *range(14, 32), 127]] |= spelling.FALLBACK  # control characters vanish
    kinds[ord("0") : ord("9") + 1] |= spelling.DIGIT
    for first, last in ("AZ", "az"):
        kinds[ord(first) : ord(last) + 1] |= spelling.LETTER
    return kinds
