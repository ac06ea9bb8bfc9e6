"""Many short rows of ids in one array, handled without a loop over them.

Shapes: R rows, T ids of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Rows:
    """Row r is ``ids[begin[r] : begin[r] + size[r]]``."""

    ids: Ids  # [T]
    begin: Ints  # [R]
    size: Ints  # [R]

    @classmethod
    def of(cls, ids: NDArray[np.integer], size: Ints) -> Rows:
        """Rows that are contiguous."""
        return cls(ids.astype(np.int32, copy=False), np.cumsum(size) - size, size)

    def take(self, number: Ints) -> Rows:
        """The rows of these numbers, contiguous."""
        size, begin = self.size[number], self.begin[number]
        ends = np.cumsum(size)
        total = int(ends[-1]) if len(ends) else 0
        ids = self.ids[np.repeat(begin - (ends - size), size) + np.arange(total)]
        return Rows(ids, ends - size, size)

    def joined(self, counts: Ints) -> Rows:
        """The first ``counts[0]`` rows as one row, and so on; rows must be contiguous."""
        ends = np.concatenate([[0], np.cumsum(self.size)])[np.concatenate([[0], np.cumsum(counts)])]
        return Rows.of(self.ids, np.diff(ends))
