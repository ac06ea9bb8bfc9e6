"""What tests of tasks share: small models with random weights, and labelled files with something to learn."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlpkit.artifact import file
from nlpkit.data.batch import Batch
from nlpkit.layers.packing import Packing
from nlpkit.models import family as family_of
from nlpkit.models.base import Model
from nlpkit.models.load import Loaded, add_classifier, model_config, state_tensors
from nlpkit.models.sizes import config_for
from nlpkit.tasks.pooling import POOLINGS
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


def classifier(pooling: str, *, norm_eps: float = 1e-12, classes: int = 5, d_model: int = 32) -> Loaded:
    """A BERT in memory with hidden states of more than 100, gains and biases that differ by dimension, and logits of
    about 50 that are sums of terms of hundreds."""
    family = family_of("bert")
    torch.manual_seed(3)
    sizes = {"n_layers": 2, "d_model": d_model, "n_heads": 4, "d_ff": 48, "max_len": 40}
    network = family.build(family.config(vocab_size=60, norm_eps=norm_eps, **sizes), ())
    add_classifier(network, classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        norm = network.encoder.layers[-1].feedforward_norm
        norm.weight.copy_(60 * torch.randn(d_model))
        norm.bias.copy_(10 * torch.randn(d_model))
        network.heads["classify"].bias.copy_(torch.randn(classes))
    task = {"name": "classify", "labels": [f"label {number}" for number in range(classes)], "pooling": pooling}
    return Loaded(network.eval(), None, family, model_config(network, family, task=task), Path("model.safetensors"))


def batch(lengths: tuple[int, ...] = (9, 9, 4, 32, 1, 40)) -> Batch:
    """Random tokens for `classifier`, in two segments."""
    packing = Packing.of(lengths)
    tokens = torch.randint(1, 60, (packing.total,), generator=torch.Generator().manual_seed(0))
    segments = torch.cat([(torch.arange(length) >= length // 2).long() for length in lengths])
    return Batch(tokens, packing, torch.arange(len(lengths)), torch.zeros(packing.total, dtype=torch.bool), segments)


@torch.no_grad()
def logits(model: Model, given: Batch, pooling: str, *, exact: bool = False) -> torch.Tensor:
    """A classifier's logits; ``exact``: in 64 bits."""
    if exact:
        model = copy.deepcopy(model).double()
    scores: torch.Tensor = model.heads["classify"](POOLINGS[pooling](model(given)))
    return scores


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
