"""Done is done: a command whose result is there, made by it from these inputs, says so and makes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import making
import pytest
import toys

import nlpkit
from nlpkit.artifact.provenance import folder_sha256
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run

SMALL = ["--n-layers", "1", "--d-model", "8", "--n-heads", "1", "--max-len", "16", "--steps", "2", "--threads", "1"]
DEV = ["--dev", "train.jsonl"]
LINES: dict[str, list[str]] = {
    "tokenizer train": ["corpus.txt", "--kind", "word", "--vocab-size", "40"],
    "tokens": ["corpus.txt", "--tokenizer", "tokenizer.safetensors"],
    "vectors train": ["corpus.txt", "--dim", "4", "--epochs", "1", "--threads", "1"],
    "vectors cooccur": ["corpus.txt"],
    "vectors glove": ["cooccur.safetensors", "--dim", "4", "--epochs", "1"],
    "pretrain": ["t.safetensors", *SMALL, "--recipe", "fast"],
    "finetune": ["bert.safetensors", "train.jsonl", "--steps", "2", "--threads", "1"],
    "distill": ["bert.safetensors", "t2.safetensors", "--steps", "1", "--threads", "1", "--n-layers", "1"],
    "tune pretrain": ["t.safetensors", *SMALL, "--dev", "t.safetensors", "--grid", "lr=1e-3,1e-2"],
    "tune finetune": ["bert.safetensors", "train.jsonl", *DEV, "--steps", "2", "--threads", "1", "--grid", "lr=1,2"],
    "tune distill": ["bert.safetensors", "t2.safetensors", "--dev", "t2.safetensors", "--steps", "1", "--seeds", "1,2"],
    "embed": ["bert.safetensors", "train.jsonl", "--threads", "1"],
    "import": ["vec.txt"],
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    making.text_file(folder / "corpus.txt", lines=100, words=30)
    making.token_file(folder / "t.safetensors")
    toys.model(folder / "bert.safetensors", n_layers=2, d_model=8)
    toys.texts(folder / "train.jsonl", 20)
    (folder / "vec.txt").write_text("2 3\na 1 2 3\nb 3 2 1\n")
    nlpkit.tokenizer_train([folder / "corpus.txt"], folder / "tokenizer.safetensors", kind="word", vocab_size=40)
    nlpkit.vectors_cooccur([folder / "corpus.txt"], folder / "cooccur.safetensors")
    (folder / "text.txt").write_text("the king of france goes out\n" * 30)
    nlpkit.tokens([folder / "text.txt"], folder / "t2.safetensors", tokenizer=folder / "bert.safetensors")
    return folder


def called(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, dict[str, Any], str]:
    code = run(words)
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out.startswith("{") else {}, said.err


def never(*_: object, **__: object) -> None:
    raise AssertionError("the stage itself was asked")


# An export is a directory, not an artefact.
@pytest.mark.parametrize("command", sorted(nlpkit.MAKES - {"export"}))
def test_the_same_command_again_makes_nothing(
    command: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    target = Path(f"made-{command.replace(' ', '-')}.safetensors")
    words = [*command.split(), *LINES[command], "-o", str(target)]
    as_json = [] if command == "embed" else ["--json"]
    code, first, said = called(capsys, [*words, *as_json])
    assert code == 0, said
    data, before = target.read_bytes(), sorted(os.listdir())
    os.utime(target, (0, 0))
    asked = {"embed": "nlpkit.stages.embed.embed"}.get(command, f"nlpkit.{command.replace(' ', '_')}")
    with monkeypatch.context() as patched:  # not even the module with the stage is needed
        name = "import_" if command == "import" else asked.removeprefix("nlpkit.")
        patched.setattr(asked if command == "embed" else f"nlpkit.{name}", never, raising=False)
        code, again, said = called(capsys, [*words, *as_json])
    assert code == 0, said
    assert target.read_bytes() == data and target.stat().st_mtime > 0 and sorted(os.listdir()) == before
    if as_json:
        assert again.pop("already_made") is True and again.keys() == first.keys()
        unknown = {name for name, value in again.items() if value is None and first[name] is not None}
        assert unknown <= {"loss", "score", "teacher_parameters", "words"}
        assert {name: first[name] for name in again if name not in unknown} == {
            name: value for name, value in again.items() if name not in unknown
        }
    code, _, said = called(capsys, words)
    assert code == 0 and "already made" in said
    assert called(capsys, [*words, "--force"])[0] == 0 and target.read_bytes() == data


def test_the_function_finds_it_too(work: Path) -> None:
    given: dict[str, Any] = {"tokenizer": work / "tokenizer.safetensors", "threads": 1}
    made = nlpkit.tokens([work / "corpus.txt"], work / "again.safetensors", **given)
    again = nlpkit.tokens([work / "corpus.txt"], work / "again.safetensors", **given)
    assert again == {**made, "already_made": True}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda work: {"seed": 1}, "seed was 0, is 1"),
        (lambda work: {"lr": 0.25, "steps": 1}, "lr was 0.001, is 0.25; steps was 0, is 1"),
        (lambda work: {"tokens": [work / "t.safetensors"] * 2}, "another order, or one is given more often"),
        (lambda work: {"tokens": [making.token_file(work / "u.safetensors", seed=3)]}, "u.safetensors is new"),
        (lambda work: {"dev": work / "t.safetensors"}, "dev t.safetensors is new"),
    ],
)
def test_what_differs_is_named(change: Callable[[Path], dict[str, Any]], told: str, work: Path) -> None:
    given: dict[str, Any] = {"n_layers": 1, "d_model": 8, "n_heads": 1, "max_len": 16, "steps": 0, "threads": 1}
    target = work / "differs.safetensors"
    given["tokens"] = [work / "t.safetensors"]
    nlpkit.pretrain(output=target, **given)
    data = target.read_bytes()
    with pytest.raises(UserError, match="exists already, and another run made it") as refused:
        nlpkit.pretrain(output=target, **{**given, **change(work)})
    assert told in refused.value.what and refused.value.exit_code == 2 and target.read_bytes() == data


def test_an_input_that_was_read_and_is_not_given_now_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(work / "dev.safetensors")
    words = ["pretrain", str(work / "t.safetensors"), *SMALL, "-o", target]
    making.token_file(work / "held.safetensors", seed=4)
    assert called(capsys, [*words, "--dev", str(work / "held.safetensors")])[0] == 0
    code, _, said = called(capsys, words)
    assert code == 2 and "another run made it: dev held.safetensors is missing" in said


def test_a_linked_folder_is_part_of_a_directory(tmp_path: Path) -> None:
    model, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    model.mkdir()
    elsewhere.mkdir()
    (model / "config.json").write_text("{}")
    (elsewhere / "config.json").write_text("1")
    alone = folder_sha256(model)
    (model / "1_Pooling").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(model)
    before = folder_sha256(model)
    (elsewhere / "config.json").write_text("2")
    assert len({alone, before, folder_sha256(model)}) == 3


def test_what_is_no_result_or_a_damaged_one_is_not_taken_for_done(work: Path, tmp_path: Path) -> None:
    target, tokenizer = tmp_path / "x.safetensors", work / "tokenizer.safetensors"
    target.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        nlpkit.tokens([work / "corpus.txt"], target, tokenizer=tokenizer)
    nlpkit.tokens([work / "corpus.txt"], target, tokenizer=tokenizer, force=True)
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    with pytest.raises(UserError, match="does not have the bytes it was written with"):
        nlpkit.tokens([work / "corpus.txt"], target, tokenizer=tokenizer)


def test_a_whole_program_knows_without_torch(work: Path) -> None:
    command = ["pretrain", "t.safetensors", *SMALL, "-o", "quick.safetensors"]
    code = "import sys; from nlpkit.cli.app import run; code = run(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    ended = [
        subprocess.run([sys.executable, "-c", code, *command], cwd=work, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert [line.split() for line in ended] == [["0", "True"], ["0", "False"]]
