"""What gets a vector: the words of a sentence, or the pieces of a tokenizer.

Words are BERT's basic words (`nlpkit.tokenizers.normalize`) in which there is a letter or a digit: punctuation and
signs alone are left out, "don't" is don and t, "well-known" is well and known, a Chinese character is a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.cache import Spellings, each
from nlpkit.tokenizers.pretokenize import cased_words, chunks, lower_words
from nlpkit.vectors.base import Ids


class Words:
    """Numbers words in the order they are met. ``lowercase`` lower-cases and strips accents."""

    def __init__(self, *, lowercase: bool) -> None:
        self._split = lower_words if lowercase else cased_words
        self._ids: dict[str, int] = {}
        self._spellings = Spellings(each(self._spell))

    @property
    def names(self) -> list[str]:
        """The words met so far, by number."""
        return list(self._ids)

    def __call__(self, sentences: Sequence[str]) -> list[Ids]:
        """The numbers of each sentence's words."""
        return self._spellings.ids(map(chunks, sentences))

    def _spell(self, chunk: str) -> list[int]:
        words = self._split(chunk)
        return [self._ids.setdefault(word, len(self._ids)) for word in words if any(map(str.isalnum, word))]


class Pieces:
    """Pieces of a tokenizer by their ids; its special pieces, the unknown one among them, get no vector."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.names = tokenizer.pieces
        self._special = np.array(sorted({tokenizer.ids[piece] for piece in tokenizer.special.values()}), np.int32)

    def __call__(self, sentences: Sequence[str]) -> list[Ids]:
        """The ids of each sentence's pieces."""
        return [ids[~np.isin(ids, self._special)] for ids in self.tokenizer.encode_batch(sentences)]
