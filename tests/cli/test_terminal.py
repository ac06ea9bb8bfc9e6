"""What comes out of a file reaches a terminal as text to be read, never as something to be obeyed."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import forging
import pytest
import toys

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.cli import app, display, recorded, terminal
from nlpkit.cli.terminal import to_json, visible

BAD = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.\u2066\n" + "\u2028"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NAME = "x\u202egnp.safetensors"  # a file name has no control characters, but may turn around what follows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("escapes")
    (here / "text.txt").write_text("the king of france goes out\n" * 60)
    toys.texts(here / "train.jsonl", 30)
    toys.model(here / "gpt2.safetensors", "gpt2")
    toys.model(here / "bert.safetensors")
    nlpkit.tokenizer_train([here / "text.txt"], here / "tok.safetensors", kind="word", min_count=1)
    nlpkit.vectors_train([here / "text.txt"], here / "vec.safetensors", dim=4, epochs=1, min_count=1, threads=1)
    nlpkit.finetune(here / "bert.safetensors", here / "train.jsonl", here / "clf.safetensors", steps=0, threads=1)

    def bad(metadata: dict[str, Any], tensors: forging.Tensors) -> None:
        provenance, config = metadata["provenance"], metadata["config"]
        provenance.setdefault("options", {})["field"] = BAD
        provenance["versions"] = {"nlpkit": BAD, "torch": BAD}
        provenance["inputs"] = [forging.given("corpus", NAME, "0" * 64)]
        metadata["history"] = {"0" * 64: forging.stage("tokens", [forging.given("corpus", NAME, "1" * 64)], field=BAD)}
        if metadata["kind"] == "vectors":
            config["words"][0] = BAD
        if "task" in config:
            config["task"]["labels"] = [f"{BAD}{label}" for label in config["task"]["labels"]]
        if metadata["tokenizer"] is not None:
            pieces = metadata["tokenizer"]["pieces"]
            pieces[pieces.index("king")] = f"king{BAD}"
        if metadata["kind"] == "model":
            config["training"] = {"objective": BAD}

    for name in ("gpt2", "tok", "vec", "clf"):
        forging.forge(here / f"{name}.safetensors", here / f"bad-{name}.safetensors", bad)
    shutil.copy(here / "bad-tok.safetensors", here / NAME)
    lines = (here / "train.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "label": f"{BAD}{json.loads(line)['label']}"} for line in lines]
    (here / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return here


COMMANDS = [
    *(
        f"{command} bad-{name}.safetensors"
        for command in ("info", "lineage", "verify", "verify --chain")
        for name in ("tok", "vec", "clf")
    ),
    "diff tok.safetensors bad-tok.safetensors",
    "diff clf.safetensors bad-clf.safetensors",
    f"info {NAME}",
    f"diff tok.safetensors {NAME}",
    f"verify {NAME}",
    "evaluate bad-clf.safetensors bad.jsonl",
    "evaluate clf.safetensors bad.jsonl",
    "predict bad-clf.safetensors train.jsonl",
    "embed bad-clf.safetensors train.jsonl",
    f"embed bad-clf.safetensors train.jsonl -o {NAME} --force",
    "generate bad-gpt2.safetensors --max-new-tokens 30 --json",
    "vectors nearest vec.safetensors \x1b[2J",
    "vectors nearest bad-vec.safetensors the --json",
    "tokenizer encode bad-tok.safetensors text.txt --pieces --json",
    f"info {shlex.quote(BAD)}",
    f"info --{shlex.quote(BAD)}",
    f"{shlex.quote(BAD)}",
    f"finetune bert.safetensors {shlex.quote(BAD)} -o x",
    f"tokens text.txt --tokenizer tok.safetensors -n -o {NAME}",
    f"report bad-clf.safetensors -o {shlex.quote(BAD)}",
]
ON_A_TERMINAL = [
    "generate bad-gpt2.safetensors --max-new-tokens 30",
    "vectors nearest bad-vec.safetensors the",
    "tokenizer encode bad-tok.safetensors text.txt --pieces",
    "tokenizer decode bad-tok.safetensors ids.txt",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_nothing_that_a_terminal_obeys_is_printed(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code = app.run(shlex.split(line))
    said = capsys.readouterr()
    assert said.out or said.err
    if line.startswith(("info bad", "lineage", "diff", "evaluate bad", "predict", "embed", "generate")):
        assert code in (0, 3), said.err  # such a file can be read
    for text in (said.out, said.err):
        assert not OBEYED.search(text), repr(text)
        assert "Traceback" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("line", ON_A_TERMINAL)
def test_data_is_escaped_on_a_terminal_and_left_alone_in_a_pipe(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "ids.txt").write_text(" ".join(map(str, range(11))) + "\n")
    assert app.run(shlex.split(line)) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert app.run(shlex.split(line)) == 0
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert not OBEYED.search(shown)
    assert shown == visible(piped, keep="\n\t")
    if "nearest" in line or "decode" in line:  # what the others say depends on weights and text
        assert "\x1b" in piped and "\\x1b" in shown


def test_events_and_errors_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    display.Heartbeat(terminal.say)({"event": "note", "text": BAD})
    app.fail(BAD, where=BAD, hint=BAD, code=2)
    error = UserError(BAD, where=BAD)
    app.fail(error.what, where=error.where, code=2)
    said = capsys.readouterr().err
    assert not OBEYED.search(said) and len(said.splitlines()) == 4


def test_the_live_line_is_escaped() -> None:
    from rich.console import Console

    with display.LiveLine() as line:
        out = io.StringIO()
        line.display.console.file = out
        line({"event": "note", "text": BAD})
        line({"event": "stage", "name": BAD})
        line({"event": "progress", "label": BAD, "done": 1, "total": None})
        console = Console(file=out, width=200)
        console.print(line)
    assert BAD[0:12] not in out.getvalue() and "\u202e" not in out.getvalue() and "]0;owned\x07" not in out.getvalue()


@pytest.mark.parametrize(
    "code", [*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xFEFF, 0xE0041]
)
def test_every_such_character_is_seen(code: int) -> None:
    letter = chr(code)
    assert visible(f"a{letter}b").isascii() and visible(visible(letter)) == visible(letter)
    assert json.loads(to_json({"a": letter})) == {"a": letter} and to_json({"a": letter}).isascii()


@pytest.mark.parametrize("text", ["naïve – “x” 日本語 क्‍ष مرحبا\u200f 👩‍🚀", "C:\\x1b", "\\n", ""])
def test_all_other_text_is_left_alone(text: str) -> None:
    assert visible(text) == text
    assert all(unicodedata.category(letter) != "Cc" for letter in text)


def test_nothing_else_prints() -> None:
    """One place: every other file of the command line goes through nlpkit/cli/terminal.py."""
    allowed = {"terminal.py", "reference.py"}
    for path in (Path(nlpkit.__file__).parent / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                own = path.name == "app.py" and isinstance(node.args[0], (ast.Name, ast.JoinedStr))  # version and help
                assert path.name in allowed or own, f"{path.name}:{node.lineno}"
    for path in Path(nlpkit.__file__).parent.rglob("*.py"):
        if "cli" not in path.parts and path.name != "__main__.py":
            calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
            assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"], (
                path
            )


# Lineage and info: what was recorded.


def test_lineage_in_a_pipe_cuts_nothing_and_says_the_unusual_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    nlpkit.finetune(Path("bert.safetensors"), Path("train.jsonl"), Path("t.safetensors"), steps=0, lr=0.5, threads=1)
    assert app.run(["lineage", "t.safetensors"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    first = "(batch-tokens=85 dropout=0.1 lr=0.5 parts=1 pooling=pooler steps=0 accumulate=1"  # given or chosen
    assert f"<- nlpkit finetune {first}" in line and line.endswith("weight-decay=0.01)")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert app.run(["lineage", "t.safetensors"]) == 0
    line = sys.stdout.getvalue().splitlines()[0]  # type: ignore[attr-defined]
    assert first in line and line.endswith("...)") and len(line) < 180


def test_a_history_that_shares_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, last = forging.doubling(40)

    def shared(metadata: dict[str, Any], _: forging.Tensors) -> None:
        metadata["history"], metadata["provenance"]["inputs"] = history, [forging.given("corpus", "x", last)]

    path = forging.forge(folder / "tok.safetensors", folder / "shared.safetensors", shared)
    assert app.run(["lineage", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.count("<- nlpkit") == 41 and said.count("(as above)") == 39
    assert app.run(["lineage", str(path), "--json"]) == 0
    assert len(capsys.readouterr().out) < 50_000
    assert app.run(["report", str(path), "-o", str(folder / "shared.html")]) == 0
    assert app.run(["verify", str(path), "--chain"]) == 2
    assert app.run(["diff", str(path), str(folder / "tok.safetensors")]) == 3


def test_info_prints_a_command_line_that_makes_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a real shell, with names that a shell would take apart."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it's $(touch x).txt").write_text("the king of france goes out\n" * 30)
    (tmp_path / "-rf").write_text("a horse\n")
    line = "tokenizer train X ./-rf -o 't k.safetensors' --kind word --no-lowercase --min-count 1"
    assert app.run([word.replace("X", "it's $(touch x).txt") for word in shlex.split(line)]) == 0
    capsys.readouterr()
    assert app.run(["info", "t k.safetensors"]) == 0
    made = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("made by"))
    command = made.removeprefix("made by  nlpkit ").replace("'t k.safetensors'", "again.safetensors")
    program = Path(sys.executable).with_name("nlpkit")
    done = subprocess.run(["bash", "-c", f"{program} {command}"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "t k.safetensors").read_bytes()
    assert not (tmp_path / "x").exists()


def test_info_finds_the_inputs_of_its_command_line_from_any_folder_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From where an input is in no folder that is searched, it is named; of several that are, its bytes decide."""
    for name in ("data", "models", "other", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/corpus.txt").write_text("the king of france goes out\n" * 30)
    (tmp_path / "models/second.txt").write_text("a horse\n")
    monkeypatch.chdir(tmp_path)
    made = ["data/corpus.txt", "models/second.txt", "-o", "models/tok.safetensors", "--kind", "word"]
    assert app.run(["tokenizer", "train", *made]) == 0

    def made_by(path: str) -> tuple[str, list[str]]:
        capsys.readouterr()
        assert app.run(["info", path]) == 0
        rows = capsys.readouterr().out.splitlines()
        (line,) = (row.removeprefix("made by  nlpkit ") for row in rows if row.startswith("made by"))
        return line, [row for row in rows if row.startswith("missing")]

    for beside in (None, "other/corpus.txt"):
        if beside:
            (tmp_path / beside).write_text("not this one\n")
        line, needs = made_by("models/tok.safetensors")
        assert " data/corpus.txt models/second.txt -o models/tok.safetensors" in line and not needs
        assert app.run(shlex.split(line)) == 0, "it is there already: the same inputs and options"
    monkeypatch.chdir(tmp_path / "elsewhere")
    line, (needed,) = made_by("../models/tok.safetensors")
    assert f" corpus.txt {tmp_path}/models/second.txt -o ../models/tok.safetensors" in line
    assert needed.startswith("missing  corpus.txt, sha256 ")


def test_info_says_that_a_file_was_made_in_portable_mode() -> None:
    provenance = {**forging.stage("polish", [forging.given("corpus", "-")]), "portable": True}
    assert recorded.command_line(provenance, "o") == "nlpkit --portable polish -o o --corpus -"


@pytest.mark.parametrize("word", ["a", "a b", "$(x)", "`x`", "it's", "-x", "a\nb", BAD, "\\'\x1b'\\", "ü"])
def test_a_word_is_one_word_to_a_shell(word: str) -> None:
    quoted = recorded.quoted(word)
    assert not OBEYED.search(quoted)
    done = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == word


def test_a_command_of_another_version_is_told_all_the_same() -> None:
    provenance = forging.stage(
        "polish", [forging.given("corpus", "a b.txt")], shine=True, dull=False, names=["x", "y z"]
    )
    line = "nlpkit polish -o o --corpus 'a b.txt' --shine --no-dull --names x --names 'y z'"
    assert recorded.command_line(provenance, "o") == line
