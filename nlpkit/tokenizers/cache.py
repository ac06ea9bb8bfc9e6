"""Word -> ids, remembered: text repeats its words, so most of a text is one dict look-up a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_WORDS = 1 << 20  # about 200 MB; then the memory starts anew
LONGEST = 64  # characters; longer words hardly come again


class WordCache(dict[str, bytes]):
    """The ids of words as bytes of int32, found by ``spell`` the first time. Results never depend on what is kept."""

    def __init__(self, spell: Callable[[str], Sequence[int]]) -> None:
        super().__init__()
        self.spell = spell

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self.spell(word), np.int32).tobytes()
        if len(word) <= LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def ids(self, words: Iterable[str]) -> NDArray[np.int32]:
        """The ids of a text's words, one after the other."""
        return np.frombuffer(bytearray().join(map(self.__getitem__, words)), np.int32)
