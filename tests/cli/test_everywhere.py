"""What README says of every command holds for every command: the table of commands is gone through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import making
import pytest

from nlpkit.cli import app, options

MODELS = {"model": "model.safetensors", "teacher": "model.safetensors"}


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_the_flags_of_every_command(name: str) -> None:
    params = {str(param.name): param for param in app.load(name).params}
    flags = {flag for param in params.values() for flag in param.opts} | {"--help"}
    assert set(options.EVERYWHERE) <= flags
    assert "-n" in params["dry_run"].opts
    said = params["json"].help
    assert ("a line" in said) == (name in options.JSON_LINES), "one object, or one a line"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").write_text("a\n")
    return tmp_path


def words_of(name: str, path: str) -> list[str]:
    """A command line with all that the command demands; every path is ``path``."""
    words = name.split()
    for param in app.load(name).params:
        if param.required and param.param_type_name == "argument":
            words.append(path)
        elif param.required:
            words += [param.opts[-1], "out" if param.name == "output" else path]
    return words


# Those whose dry run looks into their inputs have tests of their own (test_manners.py, tests/stages).
LOOKING = {
    "tokenizer train",
    "tokens",
    "vectors train",
    "vectors cooccur",
    "vectors glove",
    "pretrain",
    "finetune",
    "distill",
    "tune pretrain",
    "tune finetune",
    "tune distill",
    "plan",
}


@pytest.mark.parametrize("name", [name for name in app.COMMANDS if name not in LOOKING])
def test_a_dry_run_prints_the_options_and_touches_nothing(
    here: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPKIT_THREADS", "2")
    for more in ([], ["--json"]):
        assert app.run([*words_of(name, "some"), "-n", *more]) == 0, name
        out, err = capsys.readouterr()
        found: dict[str, Any] = json.loads(out)
        assert found["dry_run"] and found["command"] == name and err == ""
        assert more == [] or len(out.splitlines()) == 1
        given = {str(param.name) for param in app.load(name).params} - {"json", "config", "debug", "help", "dry_run"}
        assert set(found["options"]) == given
        assert found["options"].get("threads", 2) == 2, "the environment is resolved too"
    assert [path.name for path in here.iterdir()] == ["some"]


def test_an_input_that_is_not_there_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["verify", "nothing.safetensors", "-n"]) == 2
    assert "nothing.safetensors: no such file" in capsys.readouterr().err


def test_predict_and_embed_print_json_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("predict", "embed"):
        assert app.run([name, "some", "--no-json"]) == 2
        assert "prints JSON objects only" in capsys.readouterr().err


def test_a_dry_run_of_a_command_that_trains_is_resolved(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    making.token_file(here / "tokens.safetensors", documents=20)
    assert app.run(["pretrain", "tokens.safetensors", "-o", "m", "--size", "tiny", "--max-len", "32", "-n"]) == 0
    found = json.loads(capsys.readouterr().out)["options"]
    assert (found["model"], found["size"], found["objective"], found["cut"]) == ("bert", "tiny", "mlm", "blocks")
    assert (found["n_layers"], found["d_model"], found["n_heads"], found["d_ff"]) == (2, 128, 2, 512)
    assert found["steps"] > 0 and found["parts"] == 1 and found["dropout"] == 0.0 and found["max_len"] == 32
    assert (found["beta1"], found["beta2"], found["adam_eps"], found["momentum"]) == (0.9, 0.999, 1e-8, None)
    assert (found["mask_ratio"], found["mask_mix"], found["masks"]) == (0.15, "80/10/10", "dynamic")
    words = ["--n-layers", "1", "--model", "gpt2", "--optimizer", "muon"]
    assert app.run(["pretrain", "tokens.safetensors", "-o", "m", *words, "-n"]) == 0
    found = json.loads(capsys.readouterr().out)["options"]
    assert (found["size"], found["objective"], found["mask_ratio"]) == ("1 x 128", "clm", None)
    assert found["momentum"] == 0.95
