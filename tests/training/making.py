"""Small token files for tests of training: a text with structure, in characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nlpkit.artifact import file
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.char import Character

WORDS = ("the cat sat", "a dog ran off", "birds sing high", "we went home", "no one knew why")


def tokenizer() -> Character:
    letters = sorted({letter for word in WORDS for letter in word})
    return Character([*dict.fromkeys(DEFAULT_SPECIAL.values()), *letters], DEFAULT_SPECIAL)


def token_file(path: Path, *, documents: int = 60, seed: int = 0) -> Path:
    """A token file of documents with two to nine sentences, always in one of two cyclic orders."""
    rng, made = np.random.default_rng(seed), tokenizer()
    ids: list[np.ndarray] = []
    document_ends: list[int] = []
    for _ in range(documents):
        start, stride = int(rng.integers(len(WORDS))), int(rng.integers(1, 3))
        for number in range(int(rng.integers(2, 10))):
            ids.append(made.encode(WORDS[(start + stride * number) % len(WORDS)]))
        document_ends.append(len(ids))
    tensors = {
        "tokens": np.concatenate(ids).astype(np.uint16),
        "sentence_ends": np.cumsum([len(item) for item in ids]).astype(np.int64),
        "document_ends": np.array(document_ends, np.int64),
    }
    config = {"vocab_size": made.vocab_size, "n_tokens": len(tensors["tokens"]), "n_sentences": len(ids),
              "n_documents": documents, "n_bytes": len(tensors["tokens"])}  # fmt: skip
    file.write(path, tensors, kind="tokens", config=config, tokenizer=made.to_json(), provenance={"command": "test"},
               history={}, determinism={})  # fmt: skip
    return path
