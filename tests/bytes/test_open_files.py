"""A model has hundreds of tensors; the system's default for open files is 256 to 1,024. What reads one needs one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import forked
import making
import toys

from nlpkit.artifact import file
from nlpkit.artifact.file import file_sha256

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))"
KILLED = """
import os, signal
from nlpkit.artifact import resume
resume.Saves.saved = lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL)
"""
OPTIONS = (
    "--objective mlm --n-layers 8 --d-model 8 --n-heads 1 --max-len 16 --steps 3 --batch-tokens 64 "
    "--save-every 1 --threads 1 --dropout 0.1"
).split()


def run(folder: Path, *words: str, kill: bool = False) -> subprocess.CompletedProcess[str]:
    return forked.run(*words, cwd=folder, first=LIMITED + KILLED * kill, NO_COLOR="1")


def test_a_deep_model_is_resumed_read_and_verified_with_few_open_files(tmp_path: Path) -> None:
    making.token_file(tmp_path / "t.safetensors")
    making.token_file(tmp_path / "dev.safetensors", documents=5, seed=1)
    command = ["pretrain", "t.safetensors", "--dev", "dev.safetensors", *OPTIONS]
    assert run(tmp_path, *command, "-o", "m.safetensors", kill=True).returncode == -9
    state = file.read(tmp_path / "m.safetensors.resume")
    assert len(state.tensors) > 300
    resumed = run(tmp_path, *command, "-o", "m.safetensors")
    assert resumed.returncode == 0 and "resuming" in resumed.stderr, resumed.stderr
    assert run(tmp_path, *command, "-o", "whole.safetensors").returncode == 0
    assert file_sha256(tmp_path / "m.safetensors") == file_sha256(tmp_path / "whole.safetensors")
    for words in (
        ["evaluate", "m.safetensors", "dev.safetensors"],
        ["verify", "m.safetensors"],
        ["export", "m.safetensors", "-o", "hf"],
        ["import", "hf", "-o", "i.safetensors"],
    ):
        ended = run(tmp_path, *words)
        assert ended.returncode == 0 and "error" not in ended.stderr, (words, ended.stderr)
    ended = run(tmp_path, "diff", "m.safetensors", "i.safetensors")
    assert ended.returncode == 3 and "differ; first: inputs.dev" in ended.stderr, ended.stderr


def test_what_the_system_refuses_is_said(tmp_path: Path) -> None:
    """Too many open files are not a file that has changed."""
    toys.model(tmp_path / "m.safetensors", n_layers=1)
    code = (
        "import resource, sys; from pathlib import Path; from nlpkit.artifact import file\n"
        "a = file.read(Path('m.safetensors')); kept = [open('m.safetensors') for _ in range(3)]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (kept[-1].fileno() + 1,) * 2)\n"
        "a.check()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "m.safetensors: cannot map it in memory: Too many open files" in ended.stderr, ended.stderr
