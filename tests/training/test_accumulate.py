"""Only a batch of one fits: many small batches, added up, are the large one (Q-B7, C19). Through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from making import token_file

from nlpkit.artifact import file
from nlpkit.cli.app import run
from nlpkit.data.order import START
from nlpkit.stages import finetune, pretrain

LEARNT = "--steps 4 --dropout 0 --lr 1e-4 --warmup-fraction 0 --adam-eps 1e-6 --threads 1 --log-every 1".split()
SHAPE = ["--n-layers", "2", "--d-model", "32", "--n-heads", "2", "--max-len", "40", "--cut", "sentences"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("accumulate")
    token_file(made / "tokens.safetensors", documents=150)
    toys.model(made / "bert.safetensors")
    toys.texts(made / "train.jsonl", 300)
    return made


def trained(command: list[str], output: Path, batch: int, accumulate: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """The loss of every step, and every tensor."""
    log = output.with_suffix(".jsonl")
    words = ["--batch-tokens", str(batch), "--accumulate", str(accumulate), "-o", str(output), "--log", str(log)]
    assert run([*command, *LEARNT, *words]) == 0
    found = file.read(output)
    losses = [record["loss"] for record in map(json.loads, log.read_text().splitlines()) if record["event"] == "step"]
    return losses, {name: found.array(name) for name in found.tensors}


@pytest.mark.parametrize("command", ["mlm", "mlm+nsp", "clm", "finetune", "distill"])
def test_one_batch_of_32_is_32_batches_of_one(
    folder: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unequal lengths, four updates: every loss and every parameter to 1e-6. With AdamW's usual epsilon, 1e-8, a
    gradient of nothing but rounding (the keys' biases have some) becomes a full step. BERT's own are 1e-6, and a rate
    of 1e-4."""
    bert, texts, tokens = (str(folder / name) for name in ("bert.safetensors", "train.jsonl", "tokens.safetensors"))
    words = {
        "mlm": ["pretrain", tokens, *SHAPE],
        "mlm+nsp": ["pretrain", tokens, "--objective", "mlm+nsp", *SHAPE[:-2]],
        "clm": ["pretrain", tokens, "--model", "gpt2", *SHAPE],
        "finetune": ["finetune", bert, texts],
        "distill": ["distill", bert, tokens, "--n-layers", "1"],
    }[command]
    if command == "distill":  # a teacher of the token file's tokenizer
        bert = str(tmp_path / "teacher.safetensors")
        assert run(["pretrain", tokens, *SHAPE, "-o", bert, "--steps", "0"]) == 0
        words = ["distill", bert, tokens, "--n-layers", "1", "--max-len", "40"]
    sizes: list[tuple[int, ...]] = []
    for module in (pretrain, finetune.loop):
        train = module.train

        def watching(
            model: Any, objective: Any, source: Any, settings: Any, *more: Any, _train: Any = train, **rest: Any
        ) -> Any:
            (part,) = next(source.read(START, 1, (0,))).parts
            sizes.append(tuple(0 if piece.empty else len(piece.batch.packing.lengths) for piece in part))
            return _train(model, objective, source, settings, *more, **rest)

        monkeypatch.setattr(module, "train", watching)
    least = 40 if "pretrain" in words or "distill" in words else 8
    losses, tensors = trained(words, tmp_path / "one.safetensors", 32 * least, 1)
    others, pieces = trained(words, tmp_path / "many.safetensors", least, 32)
    assert len(sizes) == 2 and len(sizes[0]) == 1 and len(sizes[1]) == 32 and sum(sizes[1]) == sizes[0][0]
    assert losses == pytest.approx(others, rel=1e-6) and losses[0] != losses[-1]
    assert tensors.keys() == pieces.keys()
    worst = {name: float(np.abs(tensors[name] - pieces[name]).max()) for name in tensors}
    assert max(worst.values()) <= 1e-6, worst
