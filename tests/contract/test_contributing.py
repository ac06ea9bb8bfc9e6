"""CONTRIBUTING's promise: a model family is one file and one line."""

from __future__ import annotations

import json
from pathlib import Path

import families
import pytest
from making import token_file

import nlpkit
from nlpkit.base import events


def test_the_example_family_trains_after_its_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families.add(monkeypatch, tmp_path)
    tokens = token_file(tmp_path / "tokens.safetensors")
    losses: list[float] = []

    def listener(record: dict[str, float]) -> None:
        if record["event"] == "step":
            losses.append(record["loss"])

    options = {"model": "fnet", "n_layers": 1, "d_model": 32, "max_len": 32, "batch_tokens": 512, "lr": 1e-2}
    target = tmp_path / "fnet.safetensors"
    with events.listen(listener):
        first = nlpkit.pretrain([tokens], target, steps=60, mask_ratio=0.3, **options)
    assert losses[-1] < losses[0] - 0.3
    loaded = nlpkit.load(target)
    assert loaded.family.name == "fnet" and loaded.config["family"] == "fnet"
    again = nlpkit.pretrain([tokens], tmp_path / "again.safetensors", steps=60, mask_ratio=0.3, threads=1, **options)
    assert again["sha256"] == first["sha256"]  # the promises of the house hold for it

    rows = [{"text": text, "label": label} for text, label in (("the cat sat", "a"), ("a dog ran off", "b"))] * 30
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    nlpkit.finetune(target, tmp_path / "train.jsonl", tmp_path / "clf.safetensors", steps=5)
    assert nlpkit.load(tmp_path / "clf.safetensors").config["task"]["labels"] == ["a", "b"]
