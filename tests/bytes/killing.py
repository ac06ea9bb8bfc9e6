"""Kill real processes that write real files, at random moments and at chosen ones: what test_kill runs.

``python killing.py FOLDER KILLS`` imports everything once and forks a process for each run of the command line, so that
a run costs its own work and not the start of Python. Nothing waits for the disk: what a killed process has written is
the system's, and fsync guards against a loss of power only. It prints {stage: what was found}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import making
import toys

from nlpkit.artifact import file, safetensors
from nlpkit.cli import app

STAGES: dict[str, list[str]] = {
    "pretrain": ["pretrain", "tokens.safetensors", "--objective", "mlm+nsp", "--n-layers", "1", "--d-model", "32",
                 "--n-heads", "2", "--max-len", "32", "--batch-tokens", "256", "--dropout", "0.3", "--accumulate", "2",
                 "--steps", "12", "--short-fraction", "0.5", "--dev", "dev.safetensors", "--eval-every", "5"],
    "finetune": ["finetune", "bert.safetensors", "train.jsonl", "--dev", "dev.jsonl", "--steps", "12",
                 "--batch-tokens", "256", "--eval-every", "5", "--dropout", "0.2", "--optimizer", "adafactor"],
    "distill": ["distill", "teacher.safetensors", "train.jsonl", "--dev", "dev.jsonl", "--steps", "12",
                "--batch-tokens", "256", "--eval-every", "5", "--optimizer", "muon"],
    "glove": ["vectors", "glove", "cooc.safetensors", "--dim", "16", "--epochs", "30"],
    # The lowest loss is that of the second epoch of fourteen; its weights are part of the state, and what is kept.
    "word2vec": ["vectors", "train", "corpus.txt", "--dim", "24", "--epochs", "40", "--lr", "0.1", "--sample", "0",
                 "--dev", "held.txt", "--patience", "12"],
    "subwords": ["vectors", "train", "corpus.txt", "--dim", "16", "--epochs", "60", "--subwords", "1-3",
                 "--buckets", "500", "--method", "cbow"],
}  # fmt: skip
# Every so-manieth system call is one to be killed at.
CHOSEN = {"pretrain": 3, "finetune": 7, "distill": 7, "glove": 5, "word2vec": 4, "subwords": 18}


def child(words: list[str], before: Callable[[], object] = lambda: None) -> int:
    """Run a command line in a process of its own; returns its id."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            quiet = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            before()
            code = app.run(words)
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a process: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def points(kill_at: int | None) -> Callable[[], None]:
    """Count the system calls that make a file durable, and die before or after one of them, or inside a write."""
    seen = 0

    def point() -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if kill_at is None:
            Path("points.txt").write_text(str(seen))

    def around(function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            point()
            result = function(*args, **more)
            point()
            return result

        return call

    def torn(target: Any, tensors: Any, metadata: Any) -> None:
        class Half:
            def write(self, data: bytes) -> None:
                target.write(data[: len(data) // 2])
                target.flush()
                calls.append(0)
                if len(calls) % 9 == 1:
                    point()
                target.write(data[len(data) // 2 :])

        calls: list[int] = []
        write(Half(), tensors, metadata)

    write = safetensors.write

    def patch() -> None:
        safetensors.write = torn
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, around(getattr(os, name)))

    return patch


def command(stage: str, target: str, save_every: int) -> list[str]:
    return [*STAGES[stage], "--threads", "1", "--save-every", str(save_every), "-o", target]


def here(target: str) -> list[str]:
    """The files that a run of ``target`` has left."""
    return sorted(name for name in os.listdir(".") if target in name)


def finish(words: list[str], target: str, sha: str) -> list[str]:
    """Give the command again, as a person or Make would; returns what is wrong afterwards."""
    wrong = []
    if os.path.exists(target) and file.file_sha256(Path(target)) != sha:
        wrong.append("the target was there before the end")
    expected = 2 if os.path.exists(target) else 0  # "exists already"
    if (code := ended(child(words))) != expected:
        wrong.append(f"exit code {code}, expected {expected}")
    if here(target) != [target]:
        wrong.append(f"left behind: {here(target)}")
    elif file.file_sha256(Path(target)) != sha:
        wrong.append("other bytes")
    return wrong


def at_random(stage: str, kills: int) -> dict[str, Any]:
    """Kill at random moments, again and again, until so many kills have hit; then let it end."""
    rng = random.Random(f"{stage} 1")
    whole = f"{stage}-whole.safetensors"
    began = time.monotonic()
    assert ended(child(command(stage, whole, 1000))) == 0, Path("said.txt").read_text()
    took = time.monotonic() - began
    sha = file.file_sha256(Path(whole))
    hit, number, wrong, resumed = 0, 0, [], 0
    while hit < kills and not wrong:
        target = f"{stage}-{number}-random.safetensors"
        words = command(stage, target, 1)
        pid = child(words)
        time.sleep(rng.uniform(0.05, 0.9) * took)
        os.kill(pid, signal.SIGKILL)
        if ended(pid) == -signal.SIGKILL and not os.path.exists(target):
            hit += 1
            resumed += os.path.exists(f"{target}.resume")
            if hit < kills and rng.random() < 0.7:
                continue  # the next kill hits the run that goes on
        wrong = finish(words, target, sha)
        number += 1
    return {"sha": sha, "kills": hit, "resumed": resumed, "runs": number, "wrong": wrong}


def at_points(stage: str, sha: str) -> dict[str, Any]:
    """Kill at each system call around fsync, rename and removal, and inside writes."""
    assert ended(child(command(stage, f"{stage}-counted.safetensors", 5), points(None))) == 0
    count, wrong = int(Path("points.txt").read_text()), {}
    chosen = range(count, 0, -CHOSEN[stage])
    for point in chosen:
        target = f"{stage}-at-{point}.safetensors"
        words = command(stage, target, 5)
        code = ended(child(words, points(point)))
        found = [] if code == -signal.SIGKILL else [f"exit code {code}, expected a kill"]
        if found := found + finish(words, target, sha):
            wrong[point] = found
    return {"points": count, "killed": len(chosen), "wrong": wrong}


def main(folder: Path, kills: int) -> None:
    os.chdir(folder)
    making.token_file(Path("tokens.safetensors"))
    making.token_file(Path("dev.safetensors"), documents=6, seed=5)
    toys.model(Path("bert.safetensors"))
    toys.texts(Path("train.jsonl"), 120)
    toys.texts(Path("dev.jsonl"), 20, seed=1)
    # In this process, so that all imports are made before it forks. With one thread torch starts no other.
    making.text_file(Path("corpus.txt"))
    making.text_file(Path("held.txt"), lines=100, words=10)
    count = ["vectors", "cooccur", "corpus.txt", "-o", "cooc.safetensors"]
    prepare = ["finetune", "bert.safetensors", "train.jsonl", "-o", "teacher.safetensors", "--steps", "2"]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        for words in (count, [*prepare, "--threads", "1"], *(command(stage, f"{stage}-first", 5) for stage in STAGES)):
            assert app.run(words) == 0, said.getvalue()
    os.fsync = lambda handle: None  # type: ignore[assignment]
    found = {}
    for stage in STAGES:
        found[stage] = {"random": at_random(stage, kills)}
        found[stage]["points"] = at_points(stage, found[stage]["random"]["sha"])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
