"""nlpkit ls: the tables, as their modules describe themselves, without torch."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest
import torch

import nlpkit
from nlpkit import models, objectives, tasks, tokenizers
from nlpkit.cli.app import run
from nlpkit.models.sizes import SIZES, config_for
from nlpkit.stages import ls as catalogue
from nlpkit.stages.recipes import RECIPES, options_of
from nlpkit.training.optimizers import OPTIMIZERS


def described(value: Any) -> dict[str, str]:
    return {"name": value.name, "title": value.title, "paper": value.paper}


def test_what_is_listed_is_what_the_modules_say() -> None:
    """Listing reads the source; here the modules are imported."""
    assert nlpkit.ls("models") == {"models": [described(models.family(name)) for name in models.FAMILIES]}
    assert nlpkit.ls("objectives") == {
        "objectives": [described(objectives.kind(name)) for name in objectives.OBJECTIVES]
    }
    assert nlpkit.ls("tasks") == {"tasks": [described(tasks.kind(name)) for name in tasks.TASKS]}
    rows = nlpkit.ls("tokenizers")["tokenizers"]
    assert [row["name"] for row in rows] == list(tokenizers.KINDS)
    assert {"name": "bpe", "title": "Byte-pair encoding"}.items() <= rows[0].items() and "Sennrich" in rows[0]["paper"]
    assert all(row["title"] for row in rows)
    assert nlpkit.ls("optimizers")["optimizers"][0] == {
        "name": "adamw",
        "title": "AdamW",
        "paper": "Loshchilov and Hutter 2019, algorithm 2",
    }
    assert [row["name"] for row in nlpkit.ls("optimizers")["optimizers"]] == list(OPTIMIZERS)


def test_a_recipe_is_listed_with_the_options_that_it_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in nlpkit.ls("recipes")["recipes"]] == list(RECIPES)
    for row in nlpkit.ls("recipes")["recipes"]:
        resolved = options_of(row["name"], "mlm")
        for name, value in row["options"].items():
            taken = {option: resolved[option] for option in value} if isinstance(value, dict) else resolved[name]
            assert taken == value, name
    assert run(["ls", "recipes"]) == 0
    assert "lr=0.0015" in (out := capsys.readouterr().out) and "mlm: mask-ratio=0.3" in out


@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_its_shape_and_the_parameters_of_a_bert(name: str) -> None:
    assert inspect.signature(nlpkit.tokenizer_train).parameters["vocab_size"].default == catalogue.VOCAB_SIZE
    (row,) = [row for row in nlpkit.ls("sizes")["sizes"] if row["name"] == name]
    family = models.family("bert")
    config = config_for(family, name, vocab_size=catalogue.VOCAB_SIZE, max_len=catalogue.MAX_LEN, dropout=0.1)
    with torch.device("meta"):
        network = family.build(config, ("mlm",))
    assert row == {
        "name": name,
        "n_layers": config.n_layers,
        "d_model": config.d_model,
        "n_heads": config.n_heads,
        "d_ff": config.d_ff,
        "parameters": sum(item.numel() for item in network.parameters()),
    }


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "sizes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "n_layers", "d_model", "n_heads", "d_ff", "parameters"]
    assert lines[1].split()[:5] == ["tiny", "2", "128", "2", "512"]
    assert len({len(line) for line in lines}) == 1, "numbers end in one column"
    assert run(["ls"]) == 0
    text = capsys.readouterr().out
    assert "models      bert, roberta, gpt2" in text and "tokenizers  bpe, wordpiece, unigram, word, char" in text


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in catalogue.LISTS:
        assert run(["ls", kind, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"schema": 1, **nlpkit.ls(kind)}
    assert run(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, **nlpkit.ls()}


def test_an_unknown_kind_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "model"]) == 2
    found = capsys.readouterr().err
    assert 'kind "model" is unknown; did you mean "models"?' in found
    assert "valid: models, objectives, optimizers, recipes, sizes, tasks, tokenizers" in found


def test_listing_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "gensim", "transformers"}
    code = f"import sys, nlpkit\nnlpkit.ls()\nprint(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
