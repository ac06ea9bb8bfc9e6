"""A training command ends with a line that says whether anything was learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.stages import learnt

SHAPE: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("learnt")
    making.token_file(made / "tokens.safetensors", documents=20)
    toys.model(made / "bert.safetensors")
    toys.texts(made / "train.jsonl", 200)
    toys.texts(made / "dev.jsonl", 100, seed=1)
    return made


def last_note(log: Path) -> dict[str, Any]:
    notes = [json.loads(line) for line in log.read_text().splitlines()]
    return [item for item in notes if item["event"] == "note"][-1]


def finetuned(folder: Path, tmp_path: Path, **options: Any) -> dict[str, Any]:
    log = tmp_path / "log.jsonl"
    target = tmp_path / "c.safetensors"
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", target, log=log, **options)
    return last_note(log)


def test_a_classifier_is_compared_with_a_bag_of_words(folder: Path, tmp_path: Path) -> None:
    said = finetuned(folder, tmp_path, dev=folder / "dev.jsonl", steps=120, lr=1e-2, metric="accuracy")
    labels = [json.loads(line)["label"] for line in (folder / "dev.jsonl").read_text().splitlines()]
    most = max(labels.count(label) for label in set(labels)) / len(labels)
    assert said["majority"] == pytest.approx(most, abs=0.15) and said["bag_of_words"] > 0.9
    assert said["text"].startswith(
        f"dev accuracy {said['accuracy']:.3f}; a bag of words gets {said['bag_of_words']:.3f}"
    )


def test_a_classifier_that_learnt_nothing_is_told(folder: Path, tmp_path: Path) -> None:
    assert "nothing was learnt; try" in finetuned(folder, tmp_path, dev=folder / "dev.jsonl", steps=3, lr=0.0)["text"]


def test_without_dev_the_loss_is_compared_with_guessing(folder: Path, tmp_path: Path) -> None:
    said = finetuned(folder, tmp_path, steps=10, lr=0.0)
    labels = [json.loads(line)["label"] for line in (folder / "train.jsonl").read_text().splitlines()]
    shares = np.array([labels.count(label) for label in sorted(set(labels))]) / len(labels)
    assert said["guess"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert "hardly anything was learnt" in said["text"]


@pytest.mark.parametrize(("lr", "little"), [(0.0, True), (1e-2, False)])
def test_a_language_model_is_compared_with_guessing(folder: Path, tmp_path: Path, lr: float, little: bool) -> None:
    log = tmp_path / "log.jsonl"
    tokens = folder / "tokens.safetensors"
    nlpkit.pretrain([tokens], tmp_path / "m.safetensors", model="gpt2", steps=80, lr=lr, log=log, **SHAPE)
    said = last_note(log)
    assert said["guess"] == pytest.approx(learnt.entropy(np.bincount(file.read(tokens).array("tokens"))))
    assert ("hardly anything was learnt" in said["text"]) == little and "last loss" in said["text"]


def test_no_steps_say_nothing(folder: Path, tmp_path: Path, capsys: Any) -> None:
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", steps=0, **SHAPE)
    assert "guessing" not in capsys.readouterr().err
