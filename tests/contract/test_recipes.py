"""Recipes say what the program understands, Make rebuilds only what changed, and a wheel holds all that is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nlpkit.base.config import command_options
from nlpkit.cli import app

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))

SMALL = """
tokenizer.train = {kind = "word", vocab-size = 300}
vectors.train = {dim = 8, epochs = 1}
pretrain = {n-layers = 2, d-model = 16, n-heads = 2, max-len = 16, steps = 2, batch-tokens = 256}
finetune = {steps = 2, batch-tokens = 256}
distill = {n-layers = 1, steps = 2, batch-tokens = 256}
evaluate = {resamples = 20}
"""


def tables(path: Path) -> list[str]:
    """The commands that a recipe has a table for."""
    found = []
    for name, table in tomllib.loads(path.read_text("utf-8")).items():
        inner = [f"{name} {key}" for key, value in table.items() if isinstance(value, dict)]
        found += inner or [name]
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_option_of_a_recipe_is_one(path: Path) -> None:
    assert tables(path)
    for name in tables(path):
        params = [param for param in app.load(name).params if param.param_type_name == "option"]
        found = command_options(path, name, [str(param.name) for param in params], app.COMMANDS)
        words = ["x" for param in app.load(name).params if param.param_type_name == "argument" and param.required]
        for param in params:
            flag = f"--{str(param.name).replace('_', '-')}"
            if isinstance(value := found.get(str(param.name)), bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            elif value is not None or param.required:
                words.append(f"{flag}={'y' if value is None else value}")
        app.load(name).make_context(name, words)  # a value of the wrong type or outside its range is an error


def test_what_is_not_python_is_packaged() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["nlpkit"]
    packaged = {path for pattern in patterns for path in (ROOT / "nlpkit").glob(pattern) if path.suffix != ".py"}
    files = (path for path in (ROOT / "nlpkit").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    others = {path for path in files if path.suffix != ".py"}
    assert packaged == others


# In place of nlpkit: each command reads what it names and writes what it is asked for.
STAND_IN = """
import sys
from pathlib import Path

words = sys.argv[1:]
if words[0] == "demo":
    made = [Path(words[2], name) for name in ("corpus.txt", "train.jsonl", "test.jsonl")]
else:
    made = [Path(words[words.index("-o") + 1])]
    read = [word for word in words if word.startswith("build/") and Path(word) not in made]
    assert read and all(Path(word).exists() for word in [*read, words[words.index("--config") + 1]]), words
for path in made:
    path.parent.mkdir(exist_ok=True)
    path.write_text(" ".join(words))
"""


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["stand-in", "nlpkit"])
def test_make_rebuilds_only_what_changed(tmp_path: Path, real: bool) -> None:
    """Two jobs at once; in the long version every stage in a process of its own, on the real text with a small
    recipe."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    shutil.copy(ROOT / "recipes" / "Makefile", tmp_path / "Makefile")
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    program = "-m nlpkit" if real else "-S stand_in.py"
    command = ["make", "-j2", f"NLPKIT={sys.executable} {program}", "RECIPE=small.toml"]
    environment = {**os.environ, "NLPKIT_THREADS": "1"}

    def make(*words: str) -> str:
        done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    make()
    assert {path.name for path in (tmp_path / "build").iterdir() if path.suffix == ".json"} == {
        "teacher.json",
        "student.json",
    }
    assert "nlpkit" not in make("-n").replace("'nlpkit'", "")
    train = tmp_path / "build" / "train.jsonl"
    os.utime(train)
    again = make("-n")
    assert "finetune" in again and "distill" in again and "evaluate" in again
    assert "pretrain" not in again and "vectors" not in again and "tokenizer" not in again
