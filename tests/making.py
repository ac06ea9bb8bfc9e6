"""What several tests make: batches, and small token files of a text with structure, in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpkit.artifact import file
from nlpkit.data.batch import Batch
from nlpkit.layers.packing import Packing
from nlpkit.objectives.base import Vocabulary
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.char import Character
from nlpkit.training import loop

WORDS = ("the cat sat", "a dog ran off", "birds sing high", "we went home", "no one knew why")


def tokenizer() -> Character:
    letters = sorted({letter for word in WORDS for letter in word})
    return Character([*dict.fromkeys(DEFAULT_SPECIAL.values()), *letters], DEFAULT_SPECIAL)


def text_file(path: Path, *, lines: int = 800, words: int = 150) -> Path:
    """A text of made-up words, some much more frequent than others."""
    rng = np.random.default_rng(0)
    ranks = rng.zipf(1.3, (lines, 12)) % words
    path.write_text("".join(" ".join(f"w{rank}" for rank in line) + "\n" for line in ranks.tolist()))
    return path


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
    return sentences_file(path, made, ids, document_ends)


def sentences_file(
    path: Path,
    tokenizer: Tokenizer,
    sentences: Sequence[np.ndarray],
    document_ends: Sequence[int] | np.ndarray,
    *,
    token_bytes: int = 1,
) -> Path:
    """A token file of sentences of ids; a token has ``token_bytes`` bytes of text."""
    tokens = np.concatenate(sentences).astype(np.uint16)
    tensors = {
        "tokens": tokens,
        "sentence_ends": np.cumsum([len(item) for item in sentences]).astype(np.int64),
        "document_ends": np.array(document_ends, np.int64),
    }
    config = {
        "vocab_size": tokenizer.vocab_size,
        "n_tokens": len(tokens),
        "n_sentences": len(sentences),
        "n_documents": len(document_ends),
        "n_bytes": token_bytes * len(tokens),
    }
    file.write(
        path,
        tensors,
        kind="tokens",
        config=config,
        tokenizer=tokenizer.to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    return path


@contextmanager
def dying_after(updates: int) -> Iterator[None]:
    """Training inside of the block dies after so many updates, as if it was killed."""
    update, done = loop.update, 0

    def dying(*args: Any) -> float:
        nonlocal done
        done += 1
        if done > updates:
            raise MemoryError("killed here")
        return float(update(*args))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(loop, "update", dying)
        yield


def vector_file(path: Path, words: Sequence[str], vectors: np.ndarray, **config: Any) -> Path:
    """A vectors file, the words in the order of their frequency."""
    vectors = np.asarray(vectors, np.float32)
    tensors = {"vectors": vectors, "counts": np.arange(len(words), 0, -1)}
    tokenizer = config.pop("tokenizer", None)
    file.write(
        path,
        tensors,
        kind="vectors",
        config={"words": list(words), **config},
        tokenizer=tokenizer,
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    return path


VOCABULARY = Vocabulary(1000, {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 2, "eos": 3})
OPTIONS = {"mask_ratio": 0.15, "mask_mix": "80/10/10", "masks": "dynamic", "mask_copies": None}


def make_batch(lengths: list[int], examples: list[int] | None = None) -> Batch:
    """Sequences whose tokens are a function of their example number; first and last are framing."""
    examples = list(range(len(lengths))) if examples is None else examples
    tokens, special = [], []
    for example, length in zip(examples, lengths, strict=True):
        tokens.append(torch.arange(length) * 7 % 900 + 10 + example)
        special.append(torch.tensor([True] + [False] * (length - 2) + [True]))
    return Batch(torch.cat(tokens), Packing.of(lengths), torch.tensor(examples), torch.cat(special))
