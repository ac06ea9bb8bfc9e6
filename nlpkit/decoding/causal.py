"""A causal model that reads on: what it has read, and its scores for what comes next.

With a cache each token is read once. When a text outgrows the model's ``max_len``, its beginning is
dropped, half of a window at a time, and the rest is read again: learned positions cannot be shifted.

Shapes: V pieces of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError
from nlpkit.data.batch import Batch, Wanted
from nlpkit.layers.packing import Packing
from nlpkit.layers.state import Cache
from nlpkit.models.load import Loaded

HEAD = "clm"


def window_start(length: int, max_len: int) -> int:
    """The first token that is seen of a text of ``length`` tokens: a function of the length alone, so that a text is
    continued the same way whether it was read in one go or grew token by token."""
    if length <= max_len:
        return 0
    step = max(1, max_len // 2)
    return -(-(length - max_len) // step) * step


class Reader:
    """One text and the model that reads it; ``tokens`` is the text so far.

    Promise: of a model for inference (models/load.py, `to_inference`) the scores are the same bit by bit whether a text
    is read at once, token by token or in parts, and on any number of threads (layers/inference.py, for widths that are
    multiples of 8). Of any other model they are the same up to the last bits of a float32.
    """

    def __init__(self, loaded: Loaded, *, device: str = "cpu") -> None:
        """Errors: a model that cannot continue a text."""
        check(loaded)
        self.model = loaded.model.to(device).eval()
        self.max_len = int(loaded.model.config.max_len)
        self.vocab_size = loaded.need_tokenizer().vocab_size  # a model may have rows that no piece belongs to
        self.device = device
        self.tokens: list[int] = []
        self.start = 0  # the first token that the cache holds
        self.cache = Cache()

    def read(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read on by at least one token; returns the scores of the next, [V]."""
        self.tokens += tokens
        start = window_start(len(self.tokens), self.max_len)
        if start != self.start:
            self.start, self.cache = start, Cache()
        new = self.tokens[start + sum(self.cache.lengths) :]
        with torch.inference_mode():
            batch = _batch(new, self.device)
            output = self.model(batch, state=self.cache, wanted=Wanted(batch.packing.ends) if len(new) > 1 else None)
            logits_1V = self.model.heads[HEAD](output.hidden)
        scores: NDArray[np.float32] = logits_1V[0, : self.vocab_size].float().cpu().numpy()
        return scores

    def copy(self) -> Reader:
        """The same text, to be continued otherwise."""
        other = object.__new__(Reader)
        other.__dict__.update(self.__dict__)
        other.tokens, other.cache = list(self.tokens), self.cache.copy()
        return other


def check(loaded: Loaded) -> None:
    """Errors: a model that reads both ways, one without the head, one without a tokenizer."""
    if Ability.CAUSAL not in loaded.family.offers:
        raise UserError(
            f"is a {loaded.family.title} model, which reads a text from both sides and cannot continue it",
            where=loaded.path,
            hint="nlpkit pretrain --model gpt2 makes one that can",
        )
    if HEAD not in loaded.model.heads:
        raise UserError(
            "has no language-model head, so it cannot continue a text",
            where=loaded.path,
            hint="a model from nlpkit pretrain --objective clm has one",
        )
    loaded.need_tokenizer()


_ONE = Packing.of([1])  # its positions are computed once, not once a token
_FALSE, _ZERO = torch.zeros(1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)


def _batch(tokens: Sequence[int], device: str) -> Batch:
    """One sequence."""
    packing = _ONE if len(tokens) == 1 else Packing.of([len(tokens)])
    special = _FALSE if len(tokens) == 1 else torch.zeros(len(tokens), dtype=torch.bool)
    return Batch(torch.tensor(tokens, device=device), packing, _ZERO, special)
