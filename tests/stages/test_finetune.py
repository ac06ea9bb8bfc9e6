"""Fine-tuning: it learns, chooses the best weights, resumes in the same bytes, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys
from making import dying_after

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.exchange.opening import load

LEARN: dict[str, Any] = {"lr": 3e-3, "epochs": 8, "batch_tokens": 256, "threads": 1}
SHORT: dict[str, Any] = {"lr": 3e-3, "steps": 12, "batch_tokens": 256, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("finetune")
    toys.model(made / "bert.safetensors")
    toys.model(made / "gpt2.safetensors", "gpt2")
    toys.texts(made / "train.jsonl", 400)
    toys.texts(made / "dev.jsonl", 100, seed=1)
    toys.pairs(made / "pairs.tsv", 800)
    toys.pairs(made / "pairs-dev.tsv", 200, seed=1)
    return made


@pytest.mark.parametrize("name", ["bert", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_a_planted_word_is_learnt_through_the_command_line(
    folder: Path, tmp_path: Path, name: str, capsys: Any
) -> None:
    target = tmp_path / "c.safetensors"
    words = ["--lr", "3e-3", "--epochs", "5", "--batch-tokens", "256"]
    assert (
        run(
            [
                "finetune",
                str(folder / f"{name}.safetensors"),
                str(folder / "train.jsonl"),
                "-o",
                str(target),
                "--dev",
                str(folder / "dev.jsonl"),
                *words,
            ]
        )
        == 0
    )
    capsys.readouterr()
    code = run(["evaluate", str(target), str(folder / "dev.jsonl"), "--min", "accuracy=0.95", "--json"])
    assert code == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["value"] > 0.95


@pytest.mark.parametrize("name", ["bert", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_pairs_are_learnt_from_both_texts(folder: Path, tmp_path: Path, name: str) -> None:
    columns = {"text": "a", "label": "both", "dev": folder / "pairs-dev.tsv", "dropout": 0.0}
    model, train = folder / f"{name}.safetensors", folder / "pairs.tsv"
    learn = {**LEARN, "batch_tokens": 512}
    both = nlpkit.finetune(model, train, tmp_path / "both.safetensors", pair="b", metric="accuracy", **columns, **learn)
    one = nlpkit.finetune(model, train, tmp_path / "one.safetensors", metric="accuracy", **columns, **learn)
    assert both["score"] > 0.95
    assert one["score"] < 0.85  # the first text alone tells three quarters


def test_the_file_holds_the_task_and_no_pre_training_head(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "c.safetensors"
    summary = nlpkit.finetune(
        folder / "bert.safetensors", folder / "train.jsonl", made, max_len=16, dropout=0.3, pooling="mean", **SHORT
    )
    artifact = file.read(made, kind="model")
    assert artifact.config["task"] == {
        "name": "classify",
        "labels": ["comedy", "history", "tragedy"],
        "pooling": "mean",
        "text": "text",
        "pair": None,
        "label": "label",
        "max_len": 16,
    }
    assert artifact.config["heads"] == [] and artifact.config["dropout"] == 0.3
    heads = [name for name in artifact.tensors if name.startswith("heads.")]
    assert heads == ["heads.classify.weight", "heads.classify.bias"] or set(heads) == {
        "heads.classify.weight",
        "heads.classify.bias",
    }
    assert summary["labels"] == ["comedy", "history", "tragedy"] and summary["steps"] == 12
    assert [item["role"] for item in artifact.provenance["inputs"]] == ["model", "train"]
    assert load(made).model.heads["classify"].weight.shape == (3, 32)


def test_the_best_weights_of_dev_are_kept(folder: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    with nlpkit.base.events.listen(lambda record: found.append(record) if record["event"] == "evaluation" else None):
        options = {**LEARN, "epochs": 2, "eval_every": 10, "metric": "loss", "dev": folder / "dev.jsonl"}
        summary = nlpkit.finetune(
            folder / "bert.safetensors", folder / "train.jsonl", tmp_path / "c.safetensors", **options
        )
    best = min(record["metrics"]["loss"] for record in found)
    assert summary["score"] == -best
    measured = nlpkit.evaluate(tmp_path / "c.safetensors", folder / "dev.jsonl")["metrics"]["loss"]["value"]
    assert measured == pytest.approx(best, rel=1e-6)


def test_dev_is_measured_after_each_epoch_and_patience_stops(folder: Path, tmp_path: Path) -> None:
    found: list[int] = []
    with nlpkit.base.events.listen(
        lambda record: found.append(record["step"]) if record["event"] == "evaluation" else None
    ):
        summary = nlpkit.finetune(
            folder / "bert.safetensors",
            folder / "train.jsonl",
            tmp_path / "c.safetensors",
            dev=folder / "dev.jsonl",
            patience=2,
            **{**LEARN, "lr": 0.0},
        )
    assert len(found) == 3 and found[1] == 2 * found[0]  # nothing is ever better than the first
    assert summary["steps"] == found[2]


@pytest.mark.parametrize("name", ["bert", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_killed_anywhere_it_ends_in_the_same_bytes(folder: Path, tmp_path: Path, name: str) -> None:
    def tune(target: Path, **more: Any) -> str:
        options = {**SHORT, "save_every": 2, "dev": folder / "dev.jsonl", "eval_every": 5, "dropout": 0.3, **more}
        return str(nlpkit.finetune(folder / f"{name}.safetensors", folder / "train.jsonl", target, **options)["sha256"])

    whole = tune(tmp_path / "whole.safetensors")
    assert tune(tmp_path / "two.safetensors", threads=2) == whole
    for cut in (1, 2, 7, 11):
        target = tmp_path / f"cut{cut}.safetensors"
        with dying_after(cut):
            tune(target)
        assert not target.exists()
        assert tune(target) == whole


def test_the_same_labels_go_on_with_the_classifier_they_have(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", first, **SHORT)
    nlpkit.finetune(first, folder / "train.jsonl", second, steps=0, threads=1)
    name = "heads.classify.weight"
    assert (file.read(first).array(name) == file.read(second).array(name)).all()


def test_labels_keep_the_order_of_the_classifier_that_knows_them(folder: Path, tmp_path: Path) -> None:
    """A directory of another tool numbers its labels as it likes."""
    first, turned = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", first, **SHORT)
    nlpkit.export(first, tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    labels = ["tragedy", "comedy", "history"]
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    nlpkit.finetune(tmp_path / "theirs", folder / "train.jsonl", turned, steps=0, threads=1)
    assert file.read(turned).config["task"]["labels"] == labels
    name = "heads.classify.weight"
    assert (file.read(first).array(name) == file.read(turned).array(name)).all()


def test_a_classifier_of_other_labels_is_replaced_and_that_is_said(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", first, steps=1, threads=1)
    two = toys.texts(tmp_path / "two.jsonl", 30, classes=("comedy", "history"))
    said: list[str] = []
    with nlpkit.base.events.listen(lambda record: said.append(record["text"]) if record["event"] == "note" else None):
        nlpkit.finetune(first, two, second, steps=1, threads=1)
    assert any("knows other labels (comedy, history, tragedy); its classifier is replaced" in text for text in said)
    assert load(second).config["task"]["labels"] == ["comedy", "history"]


def test_a_dry_run_touches_nothing(folder: Path, tmp_path: Path) -> None:
    plan = nlpkit.finetune(
        folder / "bert.safetensors", folder / "train.jsonl", tmp_path / "c.safetensors", dry_run=True
    )
    assert plan["dry_run"] and plan["steps"] > 0 and plan["labels"] == ["comedy", "history", "tragedy"]
    assert list(tmp_path.iterdir()) == []


def _file(folder: Path, text: str, name: str = "bad.jsonl") -> Path:
    path = folder / name
    path.write_text(text)
    return path


GOOD = '{"text": "x", "label": "comedy"}\n{"text": "y", "label": "history"}\n'


@pytest.mark.parametrize(
    ("train", "dev", "options", "where", "message"),
    [
        ("", None, {}, "train.jsonl", "holds no examples"),
        ('{"text": "x"}\n', None, {}, "train.jsonl:1", 'no field "label"'),
        (GOOD, None, {"text": "txt"}, "train.jsonl:1", 'no field "txt"; did you mean "text"'),
        (GOOD, None, {"pair": "text2"}, "train.jsonl:1", 'no field "text2"'),
        ('{"text": "x", "label": "a"}\n', None, {}, "train.jsonl", "needs at least two"),
        (GOOD, GOOD + '{"text": "z", "label": "farce"}\n', {}, "dev.jsonl:3", 'label "farce" is unknown'),
        (GOOD, "", {}, "dev.jsonl", "holds no examples"),
        (GOOD + "nonsense\n", None, {}, "train.jsonl:3", "is not JSON"),
        (GOOD, None, {"pooling": "men"}, None, 'did you mean "mean"'),
        (GOOD, None, {"task": "classfy"}, None, 'did you mean "classify"'),
        (GOOD, None, {"metric": "acuracy"}, None, 'did you mean "accuracy"'),
        (GOOD, None, {"patience": 2}, None, "--patience changes nothing"),
        (GOOD, None, {"metric": "accuracy"}, None, "--metric changes nothing"),
        (GOOD, None, {"max_len": 4000}, "bert.safetensors", "expected 4 to 24"),
        (GOOD, None, {"dropout": 1.5}, None, "dropout is 1.5"),
        (GOOD, None, {"steps": 1, "epochs": 1}, None, "both steps and epochs"),
    ],
)
def test_errors_say_where_and_what(
    folder: Path, tmp_path: Path, train: str, dev: str | None, options: dict[str, Any], where: str | None, message: str
) -> None:
    files = {"train": _file(tmp_path, train, "train.jsonl")}
    if dev is not None:
        options = {**options, "dev": _file(tmp_path, dev, "dev.jsonl")}
    with pytest.raises(UserError) as caught:
        nlpkit.finetune(folder / "bert.safetensors", files["train"], tmp_path / "c.safetensors", **options)
    assert message in caught.value.what
    if where is not None:
        assert str(caught.value.where).endswith(where)
    assert caught.value.hint or "expected" in caught.value.what
    assert not (tmp_path / "c.safetensors").exists()


def test_the_first_token_of_a_causal_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seen nothing but itself"):
        nlpkit.finetune(folder / "gpt2.safetensors", folder / "train.jsonl", tmp_path / "c.safetensors", pooling="cls")


def test_what_is_not_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        nlpkit.finetune(folder / "train.jsonl", folder / "train.jsonl", tmp_path / "c.safetensors")
