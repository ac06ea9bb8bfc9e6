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
    said = finetuned(folder, tmp_path, dev=folder / "dev.jsonl", steps=3, lr=0.0)["text"]
    assert "nothing was learnt; the loss hardly left that of guessing: try --lr 0.001" in said


def test_without_dev_the_loss_is_compared_with_guessing(folder: Path, tmp_path: Path) -> None:
    said = finetuned(folder, tmp_path, steps=10, lr=0.0)
    labels = [json.loads(line)["label"] for line in (folder / "train.jsonl").read_text().splitlines()]
    shares = np.array([labels.count(label) for label in sorted(set(labels))]) / len(labels)
    assert said["guess"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert "the loss hardly left that of guessing: try --lr 0.001" in said["text"] and said["term"] == "classify"


@pytest.mark.parametrize(("lr", "little"), [(0.0, True), (1e-2, False)])
def test_a_language_model_is_compared_with_guessing(folder: Path, tmp_path: Path, lr: float, little: bool) -> None:
    log = tmp_path / "log.jsonl"
    tokens = folder / "tokens.safetensors"
    nlpkit.pretrain([tokens], tmp_path / "m.safetensors", model="gpt2", steps=80, lr=lr, log=log, **SHAPE)
    said = last_note(log)
    assert said["guess"] == pytest.approx(learnt.entropy(np.bincount(file.read(tokens).array("tokens"))))
    assert ("hardly left that of guessing: try --lr 0.001" in said["text"]) == little and "last loss" in said["text"]


def test_a_student_is_compared_too(folder: Path, tmp_path: Path) -> None:
    teacher, log = tmp_path / "t.safetensors", tmp_path / "log.jsonl"
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", teacher, steps=3)
    data = {"dev": folder / "dev.jsonl", "steps": 3, "lr": 0.0, "log": log, "force": True}
    nlpkit.distill(teacher, folder / "train.jsonl", tmp_path / "s.safetensors", **data)
    said = last_note(log)
    assert said["bag_of_words"] > 0.9 and "nothing was learnt" in said["text"] and "try --lr" in said["text"]
    nlpkit.distill(teacher, folder / "train.jsonl", tmp_path / "s.safetensors", labels=False, **data)
    assert "bag_of_words" not in last_note(log)  # nothing to train one on
    tokens = folder / "tokens.safetensors"
    nlpkit.pretrain([tokens], tmp_path / "m.safetensors", steps=0, **SHAPE)
    options = {"steps": 3, "lr": 0.0, "log": log, "force": True}
    nlpkit.distill(tmp_path / "m.safetensors", [tokens], tmp_path / "s.safetensors", **options)
    assert last_note(log)["term"] == "hard" and "hardly left that of guessing: try --lr" in last_note(log)["text"]


def test_it_is_said_once_while_it_trains(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ([folder / "tokens.safetensors"], tmp_path / "m.safetensors")
    nlpkit.pretrain(*arguments, steps=60, log_every=10, lr=1e-5, log=log, **SHAPE)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (early,) = [item for item in records if "has not left that of guessing" in str(item.get("text"))]
    assert (
        early["step"] == 40 and early["loss"] > early["guess"] and "if it stays there, try --lr 0.001" in early["text"]
    )
    assert records.index(early) < [item.get("step") for item in records].index(50)
    log.unlink()
    nlpkit.pretrain(*arguments, steps=80, log_every=20, lr=1e-2, log=log, force=True, model="gpt2", **SHAPE)
    assert "has not left" not in log.read_text()


def test_no_steps_say_nothing(folder: Path, tmp_path: Path, capsys: Any) -> None:
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", steps=0, **SHAPE)
    assert "guessing" not in capsys.readouterr().err
