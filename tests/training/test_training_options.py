"""The options of training: said once, and every training command has them."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args, get_type_hints

import pytest

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.base.world import COMMANDS
from nlpkit.cli import options as flags
from nlpkit.training import options
from nlpkit.training.options import BY_RUN, OPTIONS, OTHERWISE, PLAIN, Training, flat, trains
from nlpkit.training.settings import Settings


@pytest.mark.parametrize("command", COMMANDS)
def test_a_training_command_has_all_options_with_its_defaults(command: str) -> None:
    found = inspect.signature(getattr(nlpkit, command)).parameters
    assert "training" not in found
    for name, item in OPTIONS.items():
        assert found[name].default == OTHERWISE[command].get(name, (item.default,))[0]
    assert list(found)[-len(OPTIONS) :] == list(OPTIONS)


def test_a_new_option_and_a_new_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more line in the table is a keyword, a flag with help and limits, and part of what is recorded."""
    new = options.option(0.5, "Share of what is forgotten", least=0, most=1)
    new.name, new.type = "forget", "float"
    monkeypatch.setitem(OPTIONS, "forget", new)
    monkeypatch.setitem(OTHERWISE, "relearn", {"lr": (0.125, "")})
    monkeypatch.setattr(flags, "get_type_hints", lambda kind: {**get_type_hints(kind), "forget": float})

    @trains("relearn")
    def relearn(model: str, *, quickly: bool = False, **training: Any) -> dict[str, Any]:
        return flat(locals())

    @flags.trains("relearn")
    def command(model: str, json: Annotated[bool, "shown"] = False, **training: Any) -> None:
        """Learn again."""

    done = relearn("a", steps=3)
    assert done["model"] == "a" and (done["steps"], done["lr"], done["forget"]) == (3, 0.125, 0.5)
    assert set(done) == {"model", "quickly", *OPTIONS}
    found = inspect.signature(command).parameters
    assert [*found][:1] + [*found][-1:] == ["model", "json"] and found["forget"].default == 0.5
    (_, said) = get_args(found["forget"].annotation)
    assert (said.help, said.min, said.max) == ("Share of what is forgotten.", 0, 1)


def test_a_name_that_is_no_option_is_an_error_before_anything_is_done() -> None:
    with pytest.raises(TypeError, match="'lrr'"):
        nlpkit.pretrain([], "never.safetensors", lrr=1.0)


def test_what_a_recipe_may_say_is_nothing_until_it_is_resolved() -> None:
    for name, value in PLAIN.items():
        by_run = BY_RUN.get(name)
        assert OTHERWISE["pretrain"][name] == (by_run or (None, f"{value}, or the recipe's"))
        assert getattr(Training(), name) == value


@pytest.mark.parametrize("name", [name for name, item in OPTIONS.items() if item.metadata["least"] is not None])
def test_limits_hold_for_functions_too(name: str) -> None:
    """A command line knows them as well; a notebook has only these."""
    needs = {"momentum": {"optimizer": "muon"}, "decay_fraction": {"schedule": "wsd"}}.get(name, {})
    below = OPTIONS[name].metadata["least"] - 1
    with pytest.raises(UserError, match=rf"{name.replace('_', '-')} is {below}, expected"):
        Settings(**{"steps": 10, **needs, name: below})
