"""Same inputs, same bytes: every stage in two processes that differ in everything that must not matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAIN = Path(__file__).parent / "chain.py"
# Hash seed, threads, order of the stages, where they run, and what the environment says of language, place and size.
PROCESSES: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("1", "1", "early", "made", {"LC_ALL": "C", "TZ": "UTC", "OMP_NUM_THREADS": "1"}),
    (
        "4242",
        "3",
        "late",
        "a/much/deeper folder/for the run",
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu", "OMP_NUM_THREADS": "4", "COLUMNS": "40", "PYTHONUTF8": "1"},
    ),
)
STAGES = (
    "bpe",
    "wordpiece",
    "ratio",
    "unigram",
    "word",
    "char",
    "tokens",
    "shard",
    "skipgram",
    "cbow",
    "nce",
    "subwords",
    "best",
    "pieces",
    "phrases",
    "of-tokens",
    "cooc",
    "glove",
    "wide",
    "nsp",
    "static",
    "gpt2",
    "wide-gpt2",
    "pieces-gpt2",
    "further",
    "clf",
    "clf-gpt2",
    "student",
    "student-lm",
    "student-gpt2",
    "student-small",
    "imported",
    "begun",
    "from-text",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What both processes, which run at the same time, printed: {file: sha256}."""
    running = []
    for seed, threads, order, folder, environment in PROCESSES:
        place = tmp_path_factory.mktemp("process")
        (place / folder).mkdir(parents=True)
        # One is told its folder by a relative path, the other by an absolute one.
        given, cwd = (folder, place) if order == "early" else (str(place / folder), Path("/"))
        command = [sys.executable, str(CHAIN), given, threads, order]
        running.append(
            subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **environment, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    found = [process.communicate() for process in running]
    for process, (_, said) in zip(running, found, strict=True):
        assert process.returncode == 0, said[-2000:]
    return [json.loads(out) for out, _ in found]


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_write_the_same_bytes(made: list[dict[str, str]], stage: str) -> None:
    first, second = (process[f"{stage}.safetensors"] for process in made)
    assert first == second


def test_the_inputs_were_equal_and_no_file_was_forgotten(made: list[dict[str, str]]) -> None:
    first, second = made
    others = {"exported", "skipgram.txt", "answers.jsonl"}
    inputs = {"corpus.txt.gz", "small.txt", "train.jsonl", "dev.jsonl"}
    assert set(first) == {f"{stage}.safetensors" for stage in STAGES} | inputs | others
    assert first == second  # also what was exported and predicted
    assert len({first[f"{stage}.safetensors"] for stage in STAGES}) == len(STAGES)
