"""Portable mode: what short runs learn is written down, and every machine that runs the tests says whether it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from making import token_file
from portable_runs import GOLDEN, versions

from nlpkit.artifact import file

HERE = Path(__file__).parent
RUN = "pretrain tokens.safetensors --n-layers 1 --d-model 32 --steps 3 --batch-tokens 256 --threads 1".split()


# Portable mode is settled before numpy is loaded, so it needs processes that begin; others are forked.
def nlpkit(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nlpkit", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_short_runs_learn_what_is_written_down() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    if golden["versions"] != versions():
        pytest.skip(f"written down for {golden['versions']}, here are {versions()}")
    done = subprocess.run([sys.executable, HERE / "portable_runs.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["runs"]
    other = sorted(name for name in golden["runs"] if found[name] != golden["runs"][name])
    assert not other, (
        f"portable mode gave other bytes here for: {', '.join(other)}. After a change of what nlpkit computes that is "
        "meant, write them down again (tests/bytes/portable_runs.py --write) and say it in CHANGELOG.md. Without such "
        "a change, this processor breaks the promise of docs/reproducibility.md: please report what /proc/cpuinfo "
        "calls it."
    )


@pytest.mark.slow
def test_portable_mode_is_recorded_and_asked_for_again(tmp_path: Path) -> None:
    token_file(tmp_path / "tokens.safetensors", documents=20)
    assert nlpkit(tmp_path, "--portable", *RUN, "-o", "a.safetensors").returncode == 0
    assert forked.run("--no-portable", *RUN, "-o", "c.safetensors", cwd=tmp_path, NLPKIT_PORTABLE="1").returncode == 0
    a, c = (file.read(tmp_path / f"{name}.safetensors") for name in "ac")
    assert a.provenance["portable"] is True and "portable" not in c.provenance
    said = a.metadata["determinism"]
    assert said["processor"] == "x86_64 AVX2 portable" and "any x86-64 processor with AVX2" in said["promise"]
    assert "portable" not in c.metadata["determinism"]["processor"]
    wrong = forked.run("verify", "a.safetensors", cwd=tmp_path)
    assert wrong.returncode == 2 and "a.safetensors: was made in portable mode" in wrong.stderr
    assert "hint: nlpkit --portable verify" in wrong.stderr
    wrong = nlpkit(tmp_path, "--portable", "verify", "c.safetensors")
    assert wrong.returncode == 2 and "was made without portable mode" in wrong.stderr
    right = nlpkit(tmp_path, "verify", "a.safetensors", NLPKIT_PORTABLE="1")
    assert right.returncode == 0 and "same bytes" in right.stdout
    assert right.stdout.splitlines()[-1].endswith("proven, 1 stage run again, in portable mode")


ROOTS = """
from nlpkit.machine import portable
portable.ask()
portable.settle()
import numpy as np, torch
x = torch.linspace(0, 50, 60_000).reshape(3, -1)
exact = torch.from_numpy(np.sqrt(x.numpy()))
out = torch.empty_like(x)
torch.sqrt(x, out=out)
assert all((found == exact).all() for found in (x.sqrt(), torch._foreach_sqrt([x])[0], out, x.clone().sqrt_()))
assert (x.T.sqrt() == exact.T).all() and x[0, :0].sqrt().shape == (0,) and torch.tensor(4.0).sqrt() == 2
part = x[:, ::2].clone().requires_grad_()
part.sqrt().sum().backward()
assert (part.grad[0, 1:] == 0.5 / exact[0, 2::2]).all()
assert torch.tensor([4.0], dtype=torch.bfloat16).sqrt().dtype == torch.bfloat16
print("good")
"""


def test_square_roots_are_exact() -> None:
    done = subprocess.run([sys.executable, "-c", ROOTS], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("good\n", 0), done.stderr
    assert done.stderr == ""


def test_it_is_too_late_once_a_library_is_loaded() -> None:
    code = "import numpy; from nlpkit.machine.portable import ask; ask()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "numpy is loaded already" in done.stderr


def test_an_unfinished_run_goes_on_in_its_mode_only(tmp_path: Path) -> None:
    token_file(tmp_path / "tokens.safetensors", documents=20)
    stop = (
        "import os; from nlpkit.training import loop, resume; real = resume.save\n"
        "resume.save = loop.resume.save = lambda *a, **k: (real(*a, **k), os._exit(9))"
    )
    words = [*RUN, "--save-every", "1", "-o", "a.safetensors"]
    assert forked.run(*words, cwd=tmp_path, first=stop).returncode == 9
    wrong = nlpkit(tmp_path, "--portable", *words)
    assert wrong.returncode == 2 and "portable mode was off, is on" in wrong.stderr
