"""What is not given is a function of the run: recorded, said, overridden by any option (docs/defaults.md)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.cli import app
from nlpkit.stages import defaults
from nlpkit.stages.defaults import Facts

TINY = Facts(layers=2, width=128, examples=1000, tokens=30_000, pretrained=True, pooling="mean")
SHAPE: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("defaults")
    making.token_file(made / "tokens.safetensors", documents=20)
    nlpkit.pretrain([made / "tokens.safetensors"], made / "bert.safetensors", steps=2, **SHAPE)
    toys.texts(made / "train.jsonl", 40)
    toys.texts(made / "dev.jsonl", 20, seed=1)
    return made


@pytest.mark.parametrize("command", defaults.RULES)
def test_a_rule_names_options_of_its_command_and_ranges_hold(command: str) -> None:
    for layers, width in ((1, 8), (2, 128), (12, 768), (24, 1024)):
        for examples in (1, 2, 99, 1000, 10_000_000):
            facts = replace(TINY, layers=layers, width=width, examples=examples, tokens=examples * 40)
            found = defaults.RULES[command](facts)
            assert 1e-6 < found["lr"] <= 3e-3 and found["batch_tokens"] >= 40 and 1 <= found["epochs"] <= 100
            assert found["lr"] == float(f"{found['lr']:.1e}")  # a number that a person would write


def test_more_examples_need_fewer_epochs_and_a_larger_model_a_smaller_rate() -> None:
    epochs = [defaults.finetuning(replace(TINY, examples=n, tokens=30 * n))["epochs"] for n in (100, 500, 2000, 50_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1]
    rates = [defaults.rate(1e-3, replace(TINY, layers=n, width=d)) for n, d in ((2, 128), (4, 256), (12, 768))]
    assert rates == [1e-3, 2.5e-4, 2.8e-5]


def test_what_is_chosen_is_said_and_recorded_as_numbers(folder: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "clf.safetensors"
    words = [
        "finetune",
        str(folder / "bert.safetensors"),
        str(folder / "train.jsonl"),
        "-o",
        str(target),
        "--steps",
        "2",
    ]
    assert app.run(words) == 0
    made = file.read(target)
    facts = Facts(**made.config["training"]["facts"])
    assert (facts.layers, facts.width, facts.examples, facts.pretrained) == (1, 16, 40, True)
    expected = {**defaults.finetuning(facts), "epochs": None}
    assert {name: made.provenance["options"][name] for name in expected} == expected
    said = capsys.readouterr().err
    assert f"chosen for this run: --batch-tokens {expected['batch_tokens']}, " in said and "--pooling mean" in said
    # The same numbers, given, make the same weights; others are taken as they are given.
    options = {name: value for name, value in made.provenance["options"].items() if value is not None}
    again = nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", tmp_path / "b.safetensors", **options)
    assert again["sha256"] == file.file_sha256(target)
    assert app.run([*words, "--lr", "0.5", "--force"]) == 0
    assert file.read(target).provenance["options"]["lr"] == 0.5
    assert "--lr" not in capsys.readouterr().err.partition("chosen")[2].partition("\n")[0]


def test_epochs_are_chosen_where_no_steps_are_given(folder: Path, tmp_path: Path) -> None:
    tokens = [folder / "tokens.safetensors"]
    plan = nlpkit.pretrain(tokens, tmp_path / "m.safetensors", dry_run=True, **SHAPE)
    n_tokens = file.read(tokens[0]).config["n_tokens"]
    assert plan["options"]["epochs"] == min(defaults.MOST_PASSES, round(defaults.PASSES / n_tokens))
    assert (
        nlpkit.pretrain(tokens, tmp_path / "m.safetensors", steps=1, dry_run=True, **SHAPE)["options"]["epochs"] is None
    )


@pytest.mark.parametrize(("objective", "pooling"), [("mlm", "mean"), ("mlm+nsp", "pooler")])
def test_what_was_trained_is_what_is_read(folder: Path, tmp_path: Path, objective: str, pooling: str) -> None:
    """Masked words do not train BERT's pooler, next sentences do."""
    bert = tmp_path / "bert.safetensors"
    nlpkit.pretrain([folder / "tokens.safetensors"], bert, objective=objective, steps=1, **SHAPE)
    nlpkit.finetune(bert, folder / "train.jsonl", tmp_path / "c.safetensors", steps=1)
    assert file.read(tmp_path / "c.safetensors").config["task"]["pooling"] == pooling
    # A classifier that is trained further keeps its own.
    nlpkit.finetune(tmp_path / "c.safetensors", folder / "train.jsonl", tmp_path / "d.safetensors", steps=1)
    assert file.read(tmp_path / "d.safetensors").config["task"]["pooling"] == pooling


def test_the_same_command_again_is_known_to_be_done(folder: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "clf.safetensors"
    words = ["finetune", str(folder / "bert.safetensors"), str(folder / "train.jsonl"), "-o", str(target), "--json"]
    assert app.run([*words, "--epochs", "1"]) == 0
    capsys.readouterr()
    assert app.run([*words, "--epochs", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["already_made"]
    assert app.run(words) == 2  # other epochs: those of the rule
    assert "epochs was 1, is 20" in capsys.readouterr().err


def test_a_model_of_long_documents_has_positions_for_them(folder: Path, tmp_path: Path) -> None:
    """Most updates read short sequences; a length that is given is kept throughout."""
    shape = {**SHAPE, "max_len": None}
    short = nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", dry_run=True, **shape)[
        "options"
    ]
    assert (short["max_len"], short["short_fraction"]) == (defaults.MAX_LEN, None)
    ids = np.resize(file.read(folder / "tokens.safetensors").array("tokens"), 4000)
    long = tmp_path / "long.safetensors"
    making.sentences_file(long, making.tokenizer(), [ids[:1000], ids[1000:]], [1, 2])
    found = nlpkit.pretrain([long], tmp_path / "m.safetensors", dry_run=True, **shape)["options"]
    assert (found["max_len"], found["short_fraction"]) == (defaults.LONG, defaults.SHORT)
    given = nlpkit.pretrain([long], tmp_path / "m.safetensors", dry_run=True, **SHAPE)["options"]
    assert (given["max_len"], given["short_fraction"]) == (32, None)
    fast = nlpkit.pretrain([long], tmp_path / "m.safetensors", dry_run=True, recipe="fast", **SHAPE)["options"]
    assert fast["short_fraction"] == 0.7
