"""A person at a terminal: data is not wrapped by the live line, and a command that waits for typed texts says so."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest
import toys
from forked import Program, run

import nlpkit

WAITS = "reading texts from the terminal, one a line; Ctrl-D ends"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("typed")
    toys.texts(here / "train.jsonl", 30)
    toys.model(here / "bert.safetensors")
    toys.model(here / "gpt2.safetensors", "gpt2")
    nlpkit.finetune(here / "bert.safetensors", here / "train.jsonl", here / "clf.safetensors", steps=0, threads=1)
    return here


def on_a_terminal(folder: Path, *words: str, types: str = "", stdout: int | None = None) -> str:
    """What a terminal of 80 columns shows while a command runs on it."""
    ours, theirs = pty.openpty()
    if types:
        os.write(ours, types.encode())
    program = Program(
        *words,
        cwd=folder,
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        TERM="xterm",
        COLUMNS="80",
        LINES="24",
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's answer when the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert program.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_a_record_is_one_line_on_a_terminal(folder: Path) -> None:
    piped = run("embed", "bert.safetensors", "train.jsonl", cwd=folder).stdout
    lines = piped.splitlines()
    assert len(lines) == 30 and min(map(len, lines)) > 80
    shown = on_a_terminal(folder, "embed", "bert.safetensors", "train.jsonl")
    assert all(f"{line}\n" in shown for line in lines)
    with open(folder / "out.jsonl", "wb") as file:
        on_a_terminal(folder, "embed", "bert.safetensors", "train.jsonl", stdout=file.fileno())
    assert (folder / "out.jsonl").read_text() == piped


@pytest.mark.parametrize("command", ["predict clf.safetensors", "tokenizer encode clf.safetensors"])
def test_a_command_that_waits_says_so_and_draws_nothing(folder: Path, command: str) -> None:
    shown = on_a_terminal(folder, *command.split(), types="the king\n\x04")
    assert WAITS in shown and "so far" not in shown and "\x1b[2K" not in shown
    if command.startswith("predict"):
        assert "label" in json.loads(shown.splitlines()[-1])
    assert WAITS not in on_a_terminal(folder, *command.split(), "train.jsonl")


@pytest.mark.parametrize(
    ("command", "types"),
    [
        ("tokenizer decode clf.safetensors", "5 6\n\x04"),
        ("generate gpt2.safetensors --max-new-tokens 2 -", "the king\n\x04"),
        ("generate gpt2.safetensors --max-new-tokens 2 --prompt -", "the king\n\x04"),
        ("embed bert.safetensors", "the king\n\x04"),
    ],
)
def test_every_command_that_reads_stdin_text_by_text_says_so(folder: Path, command: str, types: str) -> None:
    assert WAITS in on_a_terminal(folder, *command.split(), types=types)
