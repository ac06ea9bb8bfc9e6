"""What is called a *how* changes no byte: each one, for each command that has it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import making
import pytest
import toys

import nlpkit
from nlpkit.artifact.file import file_sha256
from nlpkit.artifact.provenance import HOW
from nlpkit.training import loop
from nlpkit.vectors.glove import glove
from nlpkit.vectors.word2vec import learner

TRAIN: dict[str, Any] = {"steps": 4, "batch_tokens": 256, "threads": 1}


def function(command: str) -> Any:
    module, name = nlpkit.FUNCTIONS[command].split(":")
    return getattr(import_module(module), name)


def called(command: str, **asked: Any) -> None:
    """Call it; what comes bit by bit is taken to its end."""
    result = function(command)(**asked)
    if not isinstance(result, dict):
        list(result)


def stages() -> list[str]:
    """The commands that write an artefact. An export is a directory, not an artefact; a search is the same function
    over any command."""
    return [name for name in nlpkit.FUNCTIONS if name in nlpkit.MAKES - {"export", "tune pretrain", "tune distill"}]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """command -> what it is called with, but for its output."""
    here = tmp_path_factory.mktemp("how")
    (here / "text.txt").write_text("the king goes out\na horse of france\n\nat night\n" * 40)
    making.token_file(here / "tokens.safetensors")
    toys.model(here / "bert.safetensors")
    toys.texts(here / "train.jsonl", 60)
    nlpkit.tokenizer_train([here / "text.txt"], here / "char.safetensors", kind="char")
    letters = nlpkit.tokens([here / "text.txt"], here / "letters.safetensors", tokenizer=here / "char.safetensors")
    assert letters["n_tokens"] > 0
    nlpkit.pretrain(
        [here / "letters.safetensors"],
        here / "gpt2.safetensors",
        model="gpt2",
        steps=0,
        n_layers=1,
        d_model=16,
        n_heads=2,
        max_len=16,
    )
    nlpkit.export(here / "gpt2.safetensors", here / "directory")
    nlpkit.vectors_cooccur([here / "text.txt"], here / "cooc.safetensors")
    nlpkit.finetune(here / "bert.safetensors", here / "train.jsonl", here / "clf.safetensors", steps=1, threads=1)
    return {
        "tokenizer train": {"corpus": [here / "text.txt"], "kind": "unigram", "vocab_size": 60, "threads": 1},
        "tokens": {"corpus": [here / "text.txt"], "tokenizer": here / "char.safetensors", "threads": 1},
        "vectors train": {"corpus": [here / "text.txt"], "dim": 8, "epochs": 2, "threads": 1},
        "vectors cooccur": {"corpus": [here / "text.txt"], "threads": 1},
        "vectors glove": {"counts": here / "cooc.safetensors", "dim": 8, "epochs": 3, "threads": 1},
        "pretrain": {
            "tokens": [here / "tokens.safetensors"],
            "n_layers": 1,
            "d_model": 32,
            "n_heads": 2,
            "max_len": 32,
            "dropout": 0.2,
            **TRAIN,
        },
        "finetune": {"model": here / "bert.safetensors", "train": here / "train.jsonl", **TRAIN},
        "distill": {"teacher": here / "clf.safetensors", "data": here / "train.jsonl", **TRAIN},
        "tune finetune": {
            "model": here / "bert.safetensors",
            "train": here / "train.jsonl",
            "dev": here / "train.jsonl",
            "grid": ["lr=1e-3,1e-2"],
            **TRAIN,
        },
        "import": {"source": here / "directory"},
        "embed": {"model": here / "bert.safetensors", "data": here / "train.jsonl", "threads": 1},
    }


def unfinished(call: Callable[..., Any], asked: dict[str, Any], target: Path) -> None:
    """Leave the state of another run of the same command, so that --fresh has something to throw away."""

    def dying(function: Callable[..., Any], after: int) -> Callable[..., Any]:
        steps: list[int] = []

        def step(*args: Any) -> Any:
            steps.append(0)
            if len(steps) > after:
                raise MemoryError
            return function(*args)

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", dying(loop.update, 2))
        patch.setattr(glove.Learner, "learn", dying(glove.Learner.learn, glove.STRIPES))
        patch.setattr(learner.Learner, "train", dying(learner.Learner.train, 1))
        with pytest.raises(MemoryError):
            call(**asked, output=target, save_every=1)
    assert [*target.parent.rglob("*.resume")]


def one_thing(how: str, call: Any, asked: dict[str, Any], folder: Path) -> Path:
    """Run the command with one *how* changed; returns what it wrote."""
    target = folder / "made.safetensors"
    if how == "output":
        target = folder / "elsewhere" / "quite another name"
        target.parent.mkdir()
        call(**asked, output=target)
    elif how == "force":
        target.write_text("something else")
        call(**asked, output=target, force=True)
    elif how == "fresh":
        unfinished(call, asked, target)
        call(**asked, output=target, fresh=True)
    elif how == "dry_run":
        call(**asked, output=target, dry_run=True)
        assert list(folder.iterdir()) == []
        call(**asked, output=target)
    else:
        values = {
            "threads": 3,
            "log": folder / "log.jsonl",
            "log_every": 1,
            "save_every": 1,
            "memory_mb": 1,
            "checkpointing": True,
        }
        call(**{**asked, how: values[how]}, output=target)  # a KeyError here: a new how needs its test
    return target


# What only several processes can be told: tests/distributed shows that it, and their number, change no byte.
SEVERAL = {"parallel"}
CASES = [
    (command, how)
    for command in stages()
    for how in sorted((HOW - SEVERAL) & set(inspect.signature(function(command)).parameters))
]


def test_every_how_belongs_to_a_command() -> None:
    assert {how for _, how in CASES} == HOW - SEVERAL


@pytest.mark.parametrize(("command", "how"), CASES)
def test_it_changes_no_byte(
    given: dict[str, dict[str, Any]], made: dict[str, str], command: str, how: str, tmp_path: Path
) -> None:
    assert file_sha256(one_thing(how, partial(called, command), given[command], tmp_path)) == made[command]


@pytest.fixture(scope="module")
def made(given: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """command -> sha256 of what it writes when only what is needed is said."""
    found = {}
    for command in stages():
        target = tmp_path_factory.mktemp("plain") / "made.safetensors"
        called(command, **given[command], output=target)
        found[command] = file_sha256(target)
    return found
