"""A recipe sets what is not given, and the file says what it set."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import making
import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages import recipes
from nlpkit.stages.defaults import Facts, filled, pretraining
from nlpkit.stages.recipes import RECIPES
from nlpkit.training.options import PLAIN
from nlpkit.training.settings import Settings

SMALL: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 32, "steps": 3, "threads": 1}
FACTS = Facts(layers=2, width=128, examples=100, tokens=3000, pretrained=False)
NOTHING = dict.fromkeys(inspect.signature(nlpkit.pretrain).parameters)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_options_that_can_be_left_out(recipe: str) -> None:
    defaults = {name: item.default for name, item in inspect.signature(nlpkit.pretrain).parameters.items()}
    for options in (PLAIN, RECIPES[recipe].options, *RECIPES[recipe].with_objective.values()):
        assert all(defaults[name] is None for name in options)  # or nobody could tell that an option was given
    for objective in ("mlm", "clm", "mlm+nsp"):
        given = {**PLAIN, **recipes.options_of(recipe, objective)}
        Settings.of(given, steps=100)
        assert ("mask_ratio" in given) == (
            "mlm" in objective and "mask_ratio" in RECIPES[recipe].with_objective.get("mlm", {})
        )


def test_what_is_given_comes_first() -> None:
    found = filled("pretrain", FACTS, {**NOTHING, "lr": 0.5, "mask_ratio": 0.2}, recipes.options_of("fast", "mlm"))
    assert (found["lr"], found["mask_ratio"], found["optimizer"]) == (0.5, 0.2, "muon")
    assert filled("pretrain", FACTS, NOTHING, {}) == {**NOTHING, **PLAIN, **pretraining(FACTS)}
    with pytest.raises(UserError, match='did you mean "fast"'):
        recipes.options_of("fats", "mlm")


@pytest.mark.parametrize("model", ["bert", "gpt2"])
def test_the_file_records_what_was_done(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options by name, so that the recipe may change one day; they alone make the same weights."""
    tokens = making.token_file(tmp_path / "tokens.safetensors", documents=30)
    made, again = tmp_path / "made.safetensors", tmp_path / "again.safetensors"
    nlpkit.pretrain([tokens], made, model=model, recipe="fast", batch_tokens=256, **SMALL)
    options = file.read(made).provenance["options"]
    expected = {
        **RECIPES["fast"].options,
        **RECIPES["fast"].with_objective.get("mlm" if model == "bert" else "clm", {}),
    }
    assert {name: options[name] for name in expected} == {**expected, "batch_tokens": 256}
    assert options["recipe"] == "fast" and options["weight_decay"] == PLAIN["weight_decay"]
    said = {name: value for name, value in options.items() if name != "recipe" and value is not None}
    nlpkit.pretrain([tokens], again, **said)
    first, second = file.read(made), file.read(again)
    assert all((first.array(name) == second.array(name)).all() for name in first.tensors)
    assert nlpkit.verify(made)["proven"]
    assert app.run(["info", str(made)]) == 0
    assert "--optimizer muon" in capsys.readouterr().out
