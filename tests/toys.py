"""What tests of tasks share: small models with random weights, and labelled files with something to learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlpkit.artifact import file
from nlpkit.models import family as family_of
from nlpkit.models.load import model_config, state_tensors
from nlpkit.models.sizes import config_for
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.word import Word

FILLER = ("the", "king", "of", "france", "goes", "out", "at", "night", "with", "his", "sword", "and", "horse")
KEYS = {"comedy": "laughter", "tragedy": "funeral", "history": "battle"}


def tokenizer() -> Word:
    return Word([*dict.fromkeys(DEFAULT_SPECIAL.values()), *FILLER, *KEYS.values()], DEFAULT_SPECIAL)


def model(path: Path, name: str = "bert", *, n_layers: int = 2, d_model: int = 32, seed: int = 0, **more: Any) -> Path:
    """A model file with random weights, as ``pretrain --steps 0`` writes it."""
    family, made = family_of(name), tokenizer()
    torch.manual_seed(seed)
    config = config_for(
        family,
        "tiny",
        vocab_size=made.vocab_size,
        max_len=more.pop("max_len", 24),
        dropout=0.1,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=2,
        d_ff=2 * d_model,
    )
    network = family.build(config, (family.objective,))
    file.write(
        path,
        state_tensors(network),
        kind="model",
        config=model_config(network, family),
        tokenizer=made.to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    return path


def sentence(rng: np.random.Generator, *, key: str | None = None) -> str:
    words = [str(word) for word in rng.choice(FILLER, int(rng.integers(3, 12)))]
    if key is not None:
        words.insert(int(rng.integers(len(words) + 1)), key)
    return " ".join(words)


def texts(path: Path, n: int, *, seed: int = 0, classes: tuple[str, ...] = tuple(KEYS), **fixed: Any) -> Path:
    """A JSONL file of ``text`` and ``label``: each text holds the word of its class."""
    rng = np.random.default_rng(seed)
    with open(path, "w") as target:
        for number in range(n):
            label = classes[int(rng.integers(len(classes)))]
            row = {"id": number, "text": sentence(rng, key=KEYS[label]), "label": label, **fixed}
            target.write(json.dumps(row) + "\n")
    return path


def pairs(path: Path, n: int, *, seed: int = 0) -> Path:
    """A TSV file of ``a``, ``b`` and ``both``: whether both texts hold a key; half of them do, of the others one."""
    rng = np.random.default_rng(seed)
    key = KEYS["comedy"]
    with open(path, "w") as target:
        target.write("a\tb\tboth\n")
        for _ in range(n):
            held = ((True, True), (True, True), (True, False), (False, True))[int(rng.integers(4))]
            row = [sentence(rng, key=key if has else None) for has in held]
            target.write("\t".join([*row, "yes" if all(held) else "no"]) + "\n")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
