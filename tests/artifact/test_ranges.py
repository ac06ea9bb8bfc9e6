"""Every option that a stage records has a range: what is out of it is an error with a name, from the command line, from
Python and from a file that is verified; never a traceback, a run without end or all the memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forging
import mutating
import pytest

import nlpkit
from nlpkit.base import limits
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages.call import fits, stage_of
from nlpkit.training.options import OPTIONS

NUMBERS = (0, -1, 2**31, 2**53 - 1, 2**53, -(2**53), 1e308, -1e308)
TEXTS = ("", "\0")
# A call of each stage that makes an artefact, on the files of `mutating.prepare`.
CALLS: dict[str, dict[str, Any]] = {
    "tokenizer train": {"corpus": "text.txt", "vocab_size": 300},
    "tokens": {"corpus": "text.txt", "tokenizer": "tok.safetensors"},
    "vectors train": {"corpus": "text.txt", "dim": 4, "epochs": 1, "min_count": 1},
    "vectors cooccur": {"corpus": "text.txt", "min_count": 1},
    "vectors glove": {"counts": "counts.safetensors", "dim": 4, "epochs": 1},
    "pretrain": {"tokens": "tokens.safetensors", "n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 16},
    "finetune": {"model": "bert.safetensors", "train": "train.jsonl"},
    "distill": {"teacher": "bert.safetensors", "data": "tokens.safetensors"},
    "tune pretrain": {
        "tokens": "tokens.safetensors",
        "dev": "tokens.safetensors",
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "max_len": 16,
    },
    "tune finetune": {"model": "bert.safetensors", "train": "train.jsonl", "dev": "train.jsonl"},
    "tune distill": {"teacher": "bert.safetensors", "data": "tokens.safetensors", "dev": "tokens.safetensors"},
    "embed": {"model": "bert.safetensors", "data": "text.txt"},
    "export": {"model": "bert.safetensors"},
    "import": {"source": "hf-bert"},
}
# Options that another one must be given with, to be read at all.
WITH: dict[str, dict[str, Any]] = {
    "phrase_threshold": {"phrases": 1},
    "buckets": {"subwords": "3-4"},
    "mask_copies": {"masks": "static"},
    "decay_fraction": {"schedule": "wsd"},
    "momentum": {"optimizer": "muon"},
    "field": {"corpus": "train.jsonl"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("limits")
    mutating.prepare(made)
    return made


def values(kind: Any) -> Iterator[Any]:
    """Extreme values of an option of this type; of a number, those that are none of its kind too."""
    if fits(0, kind) or fits(0.5, kind):
        yield from NUMBERS
    if fits("", kind):
        yield from TEXTS


# Fine-tuning and distillation read the options of training as pre-training does, and a search as its command does.
SLOW = ("finetune", "distill", "tune pretrain", "tune finetune", "tune distill")
COMMANDS = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(nlpkit.MAKES)]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_value_of_an_option_is_a_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(folder)
    stage, function = (
        stage_of(command),
        getattr(nlpkit, "import_" if command == "import" else command.replace(" ", "_")),
    )
    dry = {"dry_run": True} if "dry_run" in inspect.signature(stage.function).parameters else {"force": True}
    refused = 0
    for name, kind in stage.options.items():
        given = {**CALLS[command], **WITH.get(name, {})} if name != "field" or command != "tokens" else CALLS[command]
        for value in values(kind):
            try:
                function(**{**given, name: value}, output=tmp_path / "out", **dry)
            except UserError as error:
                refused += 1
                assert "\n" not in error.what and "Traceback" not in error.what, (name, value)
            except Exception as error:
                raise AssertionError(f"{command}: {name}={value!r} raises {error!r}") from error
    assert refused or not stage.options


@pytest.mark.parametrize(
    "command",
    [
        "tokenizer train",
        "vectors train",
        "vectors cooccur",
        "vectors glove",
        "pretrain",
        "finetune",
        "distill",
        "embed",
    ],
)
def test_no_recorded_value_is_a_traceback_of_verify(folder: Path, tmp_path: Path, command: str) -> None:
    """What a stranger's file records: refused as the same option on the command line is, or run."""
    stage, honest = stage_of(command), tmp_path / "honest.safetensors"
    function = getattr(nlpkit, command.replace(" ", "_"))
    files = {name: folder / value for name, value in CALLS[command].items() if name in stage.inputs}
    more = {"steps": 1, "batch_tokens": 64} if "steps" in stage.options else {}
    function(**{**CALLS[command], **files, **more}, output=honest)
    for name, kind in stage.options.items():
        for value in (-1, 2**53 - 1, "\0"):
            if not fits(value, kind) or name == "seed":
                continue
            forged = forging.forge(
                honest,
                tmp_path / "forged.safetensors",
                lambda metadata, _, name=name, value=value: metadata["provenance"]["options"].__setitem__(name, value),
            )
            try:
                nlpkit.verify(forged, inputs=folder, threads=1)
            except UserError as error:
                assert "cannot be run with the recorded options" not in error.what, (name, value, error.what)


def test_every_number_has_a_range() -> None:
    """An option that is a number stands in one of the two tables of ranges, and in one only."""
    unlimited = {"top_p", "repetition_penalty"}
    for command in sorted(nlpkit.MAKES):
        for name, kind in stage_of(command).options.items():
            if type(None) in (kind,) or not (fits(0, kind) or fits(0.5, kind)) or name in unlimited:
                continue
            trains = command.removeprefix("tune ") in ("pretrain", "finetune", "distill") and name in OPTIONS
            own = trains and OPTIONS[name].metadata["least"] is not None
            assert own != (limits.range_of(command, name) is not None), f"{command} {name}"


@pytest.mark.parametrize(
    "line",
    [
        "tokenizer train a.txt -o o --vocab-size 0",
        "vectors train a.txt -o o --dim 9999999",
        "pretrain a -o o --parts 0",
        "pretrain a -o o --max-len 0",
        "embed a --layer -1",
        f"vectors train a.txt -o o --seed {2**53}",
        "vectors nearest a b -k 0",
        f"pretrain a -o o --seed {2**53}",
        "distill a b -o o --weight-kl -1",
    ],
)
def test_the_command_line_has_the_same_ranges(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(line.split()) == 2
    said = capsys.readouterr().err
    assert "range" in said, said
    if "--seed" in line:
        assert f"{2**53 - 1}" in said


def test_a_seed_is_what_json_holds_exactly(folder: Path, tmp_path: Path) -> None:
    for seed in (-1, 2**53):
        with pytest.raises(UserError, match=r"seed is .*, expected at (least 0|most 9,007,199,254,740,991)"):
            nlpkit.vectors_train(folder / "text.txt", tmp_path / "o", seed=seed)
    told = nlpkit.vectors_train(folder / "text.txt", tmp_path / "o", seed=2**53 - 1, min_count=1, dry_run=True)
    assert told["seed"] == 2**53 - 1
