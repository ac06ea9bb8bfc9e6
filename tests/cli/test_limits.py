"""What a system can refuse: memory, streams, room on the disk. One line says what ran out, and of which file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import toys

import nlpkit
from nlpkit.cli import app, memory
from nlpkit.cli.commands import COMMANDS

PROGRAM = [sys.executable, "-m", "nlpkit"]


def limited(words: list[str], folder: Path, limit: Callable[[], None] | None = None, **environment: str) -> str:
    """What a command says that fails."""
    ended = subprocess.run(
        [*PROGRAM, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    assert ended.returncode in (1, 2) and "Traceback" not in ended.stderr, ended.stderr
    return re.sub(r"(?m)^\w+: \d+:\d\d so far\n", "", ended.stderr)  # a busy machine needs ten seconds for it


@pytest.mark.parametrize("words", ["tokens - --tokenizer m -o t", "tokenizer encode m", "report - -o r.html"])
def test_a_closed_stdin_is_called_so(words: str, tmp_path: Path) -> None:
    toys.model(tmp_path / "m", n_layers=1, d_model=8)
    assert limited(words.split(), tmp_path, lambda: os.close(0)).startswith("error: stdin: is closed\n")


# What computes is forked, since importing it again takes seconds; the light commands begin with a closed stdout.
CLOSED = (("import os; os.close(1)", "is closed"), ("", "cannot write: No space left on device"))


def test_predictions_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    toys.model(tmp_path / "bert", n_layers=1, d_model=8)
    nlpkit.finetune(tmp_path / "bert", toys.texts(tmp_path / "t.jsonl", 9), tmp_path / "m", steps=1)
    (tmp_path / "c.txt").write_text("the king\n")
    for first, says in CLOSED:
        with open("/dev/full", "wb") as full:
            ended = forked.run("predict", "m", "c.txt", cwd=tmp_path, first=first, stdout=full.fileno())
        assert ended.returncode == 1, ended.stderr
        assert f"error: stdout: {says}\nhint: " in ended.stderr and ended.stderr.count("error") == 1, ended.stderr


@pytest.mark.parametrize("words", ["ls --json", "info m", "--help", "tokenizer encode m c.txt"])
def test_a_stdout_that_cannot_be_written_is_named(words: str, tmp_path: Path) -> None:
    toys.model(tmp_path / "bert", n_layers=1, d_model=8)
    nlpkit.finetune(tmp_path / "bert", toys.texts(tmp_path / "t.jsonl", 9), tmp_path / "m", steps=1)
    (tmp_path / "c.txt").write_text("the king\n")
    for closing, says in ((">&-", "is closed"), (">/dev/full", "cannot write: No space left on device")):
        line = f"{sys.executable} -m nlpkit {words} {closing}"
        ended = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert ended.returncode == 1, ended.stderr
        assert f"error: stdout: {says}\nhint: " in ended.stderr and ended.stderr.count("error") == 1, ended.stderr


def test_memory_that_runs_out_is_told_with_the_users_file(tmp_path: Path) -> None:
    toys.model(tmp_path / "m", n_layers=1, d_model=8)
    (tmp_path / "c.txt").write_text("the king\n")
    code = (
        "import resource, sys; from nlpkit.cli.app import main; import numpy\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (150 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used, used)); main(sys.argv[1:])"
    )
    words = ["pretrain", "m", "-o", "mine.safetensors"]
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("error: mine.safetensors: out of memory\n") and "Traceback" not in ended.stderr


def test_what_made_a_command_need_the_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, size in (("m", 10), ("big.txt", 2000)):
        (tmp_path / name).write_bytes(b"x" * size)
    where, hint = memory.blame("predict m big.txt --batch-tokens 100000000 --max-len=512".split())
    assert where == "big.txt" and hint.startswith("less than --batch-tokens 100000000 or --max-len 512 needs less; ")
    assert "the largest input is big.txt, 2,000 bytes" in hint
    where, hint = memory.blame("vectors train big.txt -o v --dim 900000".split())
    assert where == "v" and "--dim 900000" in hint and "big.txt" in hint
    assert memory.blame(["ls"])[0] is None


def test_every_size_is_an_option_of_some_command() -> None:
    flags = {flag for name in COMMANDS for option in app.load(name).params for flag in option.opts}
    assert set(memory.SIZES) <= flags


def test_a_full_disk_in_an_export_names_the_folder_of_the_user(tmp_path: Path) -> None:
    toys.model(tmp_path / "m", n_layers=1)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    done = forked.run(
        "export", "m", "-o", "hf", cwd=tmp_path, first=f"import sys; sys.dont_write_bytecode = True; {full}"
    )
    assert done.returncode == 1 and done.stderr.startswith("error: hf: cannot write: File too large")
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("value", ["1", "", "complete_bash", "complete_zsh", "complete_tcsh"])
def test_completion_that_no_shell_asks_for(value: str, tmp_path: Path) -> None:
    assert limited(["ls"], tmp_path, _NLPKIT_COMPLETE=value).startswith("error: environment: _NLPKIT_COMPLETE is")
