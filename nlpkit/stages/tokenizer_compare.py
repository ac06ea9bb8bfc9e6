"""Several tokenizers measured on one text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.base.errors import UserError
from nlpkit.exchange.tokenizer_opening import load_tokenizer
from nlpkit.stages.tokenizer_stream import read_lines
from nlpkit.tokenizers.base import Tokenizer

_BATCH = 2000  # lines


def compare(
    tokenizers: Sequence[Path], *, text: Path, field: str = "text", format: str | None = None
) -> dict[str, Any]:
    """Measure tokenizers (files or folders that hold one) on the lines of a text, or on the column ``field`` of rows.

    A word is what white space separates. For each tokenizer:

    - vocab_size; tokens; fertility: tokens a word; bytes_per_token: UTF-8 bytes of the text a token stands for;
    - bits_per_byte: the text's length under a unigram model of the tokenizer's own pieces, fitted on this text (their
      entropy), divided by its bytes: lower is better, but dropped and unknown characters cost nothing;
    - coverage: fraction of the words with no unknown piece; exact: fraction of the lines that decoding restores;
    - megabytes_per_second: encoding, one pass with nothing cached; the only figure that differs from run to run.
    """
    tallies = [_Tally(str(path), load_tokenizer(path)) for path in tokenizers]
    words: Counter[str] = Counter()
    size = 0
    lines = read_lines(text, field=field, format=format)
    while batch := list(islice(lines, _BATCH)):
        size += sum(len(line.encode()) for line in batch)
        words.update(word for line in batch for word in line.split())
        for tally in tallies:
            tally.add(batch)
    if not words:
        raise UserError("holds no words to compare tokenizers on", where=text)
    return {
        "text": str(text),
        "bytes": size,
        "words": words.total(),
        "tokenizers": [tally.result(size, words) for tally in tallies],
    }


class _Tally:
    """One tokenizer's counts."""

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        self.name, self.tokenizer = name, tokenizer
        self.uses = np.zeros(tokenizer.vocab_size, np.int64)
        self.lines = self.exact = 0
        self.seconds = 0.0

    def add(self, lines: Sequence[str]) -> None:
        start = time.perf_counter()
        ids = self.tokenizer.encode_batch(lines)
        self.seconds += time.perf_counter() - start
        self.uses += np.bincount(np.concatenate(ids), minlength=len(self.uses))
        self.lines += len(lines)
        self.exact += sum(self.tokenizer.decode(item.tolist()) == line for item, line in zip(ids, lines, strict=True))

    def result(self, size: int, words: Counter[str]) -> dict[str, Any]:
        tokens, used = int(self.uses.sum()), self.uses[self.uses > 0]
        unknown = self.tokenizer.role("unk")
        known = sum(
            words[word]
            for word, ids in zip(words, self.tokenizer.encode_batch(list(words)), strict=True)
            if unknown is None or unknown not in ids
        )
        return {
            "tokenizer": self.name,
            "kind": self.tokenizer.kind,
            "vocab_size": self.tokenizer.vocab_size,
            "tokens": tokens,
            "fertility": tokens / words.total(),
            "bytes_per_token": size / tokens if tokens else None,
            "bits_per_byte": float((used * -np.log2(used / tokens)).sum()) / size,
            "coverage": known / words.total(),
            "exact": self.exact / self.lines,
            "megabytes_per_second": size / 1e6 / max(self.seconds, 1e-9),
        }
