"""The characters of a text that each of its tokens covers, as tagging and question answering need them.

Offsets come from the tokenizers library, for our own kinds too; they count characters of the text before
normalisation. Ids come from `encode_batch`; the library's must equal them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import RunError
from nlpkit.tokenizers.base import Offsets, Tokenizer
from nlpkit.tokenizers.describe import added_tokens, describe
from nlpkit.tokenizers.pipeline import Pipeline


def encode_with_offsets(tokenizer: Tokenizer, texts: Sequence[str]) -> list[tuple[NDArray[np.int32], Offsets]]:
    """The ids [T] of each text and their offsets [T, 2]. A token that covers part of a character has the whole of
    it; white space in front of a word belongs to the token that holds it.

    Errors: RunError where the library encodes a text differently (characters that its tables of Unicode do not know).
    """
    if isinstance(tokenizer, Pipeline):
        return tokenizer.encode_with_offsets(texts)
    encoded = _twin(tokenizer).encode_with_offsets(texts)
    for ids, (theirs, _), text in zip(tokenizer.encode_batch(texts), encoded, texts, strict=True):
        if not np.array_equal(ids, theirs):
            raise RunError(f"the tokenizers library encodes {text[:60]!r} differently, so its offsets are unknown")
    return encoded


@lru_cache(maxsize=4)
def _twin(tokenizer: Tokenizer) -> Pipeline:
    """The same tokenizer, run by the library."""
    document = json.dumps(
        {"version": "1.0", "added_tokens": added_tokens(tokenizer), **describe(tokenizer)}, ensure_ascii=False
    )
    return Pipeline(document, tokenizer.special, split_special=not tokenizer.finds_special)
