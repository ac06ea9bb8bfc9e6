"""What is read whole has a largest size, and what never ends is refused before it is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import toys

import nlpkit
from nlpkit.base import small
from nlpkit.base.errors import UserError
from nlpkit.cli import app


def test_a_small_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    assert small.read(path, 10) == b"x" * 10
    with pytest.raises(UserError, match="has more than 9 bytes, the most that is read of such a file"):
        small.read(path, 9)


@pytest.mark.parametrize(
    ("device", "says"), [("/dev/zero", "is a device"), ("/dev/tty", "is a device"), ("fifo", "is a pipe")]
)
def test_what_never_ends_is_no_file(tmp_path: Path, device: str, says: str) -> None:
    if device == "fifo":
        os.mkfifo(tmp_path / "fifo")
        device = str(tmp_path / "fifo")
    with pytest.raises(UserError, match=says):
        small.read(Path(device), 10)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the king\n")
    for name in ("zero.toml", "zero.jsonl", "zero.vec"):
        (tmp_path / name).symlink_to("/dev/zero")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["tokenizer", "train", "text.txt", "-o", "o", "--config", "zero.toml"],
        ["report", "zero.jsonl", "-o", "o.html"],
        ["import", "zero.vec", "-o", "o"],
        ["tokenizer", "train", "/dev/zero", "-o", "o"],
    ],
)
def test_a_device_is_refused(here: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(words) == 2
    assert "is a device, expected a file" in capsys.readouterr().err


def test_so_is_a_configuration_from_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NLPKIT_CONFIG", "zero.toml")
    assert app.run(["tokenizer", "train", "text.txt", "-o", "o"]) == 2
    assert "zero.toml: is a device" in capsys.readouterr().err


def test_a_large_configuration_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "large.toml").write_text("# " + "x" * small.CONFIG)
    assert app.run(["tokenizer", "train", "text.txt", "-o", "o", "--config", "large.toml"]) == 2
    assert "large.toml: has more than 1,048,576 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "nlpkit.json"])
def test_a_directory_of_devices_is_refused(here: Path, name: str) -> None:
    toys.model(here / "bert.safetensors")
    nlpkit.export(here / "bert.safetensors", here / "hf")
    honest = here / "honest"
    shutil.copytree(here / "hf", honest)
    (here / "hf" / name).unlink()
    (here / "hf" / name).symlink_to("/dev/zero")
    assert app.run(["import", "hf", "-o", "o.safetensors"]) in (0, 2)  # 0: what is no file is not there
    assert app.run(["import", "honest", "-o", "o2.safetensors"]) == 0
