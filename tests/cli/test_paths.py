"""No path that is written may be one that is read, or another that is written, in any command, under any name."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from nlpkit.artifact.paths import WRITTEN, check_apart
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.cli.commands import COMMANDS
from nlpkit.cli.options import complete


def paths_of(command: str) -> dict[str, bool]:
    """The parameters of a command that are paths, and whether they are lists."""
    hints = get_type_hints(import_module(f"nlpkit.cli.{COMMANDS[command][0]}").command)
    return {name: "list" in str(hint) for name, hint in hints.items() if "Path" in str(hint)}


PAIRS = [
    (command, written, other)
    for command in COMMANDS
    for written in WRITTEN
    for other in [*paths_of(command), "config"]
    if written in paths_of(command) and written != other
]


def test_the_table_says_what_is_written() -> None:
    """A parameter that is a path is read, but for these; a new one that is written belongs in `WRITTEN`."""
    names = {name for command in COMMANDS for name in paths_of(command)}
    assert names & set(WRITTEN) == set(WRITTEN) and len(PAIRS) > 60


@pytest.mark.parametrize(("command", "written", "other"), PAIRS)
def test_every_command_refuses(
    command: str, written: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = Path("one.txt")
    one.write_text("mine")
    os.link("one.txt", "hard")
    Path("soft").symlink_to("one.txt")
    Path("other.txt").write_text("")
    asked: list[Any] = []
    function = import_module(f"nlpkit.cli.{COMMANDS[command][0]}").command
    wrapped = complete(function, command, lambda **given: asked.append(given))
    several = paths_of(command).get(other, False)
    for name in ("one.txt", "./one.txt", "hard", "soft", str(tmp_path / "one.txt")):
        value: Any = name if other == "config" else [Path("other.txt"), Path(name)] if several else Path(name)
        with pytest.raises(UserError, match=r"the same command (reads|writes) it"):
            wrapped(**{written: one, other: value, "dry_run": False})
    free = {written: Path("free.txt"), "dry_run": False}
    wrapped(**free, **{other: [one] if several else str(one) if other == "config" else one})
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("command", "other"),
    [(command, other) for command in COMMANDS for other in [*paths_of(command), "config"] if other != "output"],
)
def test_every_command_refuses_what_it_keeps_beside_its_output(
    command: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state, the predictions, the lock and the temporary files, of every option that is a path, read or written."""
    if "output" not in paths_of(command):
        return
    monkeypatch.chdir(tmp_path)
    function = import_module(f"nlpkit.cli.{COMMANDS[command][0]}").command
    asked: list[Any] = []
    wrapped = complete(function, command, lambda **given: asked.append(given))
    hex16 = "0123456789abcdef"
    for name in ("m.resume", "m.predictions", ".m.lock", f".m.{hex16}.partial", f".m.resume.{hex16}.partial"):
        path = Path(name)
        path.write_text("")
        value: Any = name if other == "config" else [path] if paths_of(command).get(other) else path
        with pytest.raises(UserError) as caught:
            wrapped(**{"output": Path("m"), other: value, "dry_run": False})
        assert caught.value.exit_code == 2 and str(caught.value.where) in (
            "m",
            name,
            "m.resume",
            "m.predictions",
            ".m.lock",
        )
    assert not asked


def test_what_stands_beside_an_output_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m.resume", "m.predictions", ".m.lock"):
        with pytest.raises(UserError, match="the same command"):
            check_apart({"output": Path("m"), "log": Path(name)})
        with pytest.raises(UserError, match="the same command"):
            check_apart({"output": Path("m"), "init": Path(name)})


def test_a_folder_that_is_read_is_not_written_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hf").mkdir()
    Path("link").symlink_to("hf")
    for path in ("hf/m.safetensors", "link/m.safetensors", "link"):
        with pytest.raises(UserError, match="the same command reads"):
            check_apart({"source": Path("hf"), "output": Path(path)})
    check_apart({"source": Path("hf"), "output": Path("hf.safetensors")})


def test_training_data_is_not_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "b"}\n')
    code = run(
        [
            "finetune",
            str(tmp_path / "m"),
            str(tmp_path / "train.jsonl"),
            "-o",
            str(tmp_path / "o"),
            "--log",
            f"{tmp_path}/./train.jsonl",
        ]
    )
    assert code == 2 and "is written (log), and the same command reads it (train)" in capsys.readouterr().err
    assert (tmp_path / "train.jsonl").read_text().count("\n") == 1
