"""Kill real processes that write real files, at random moments and at chosen ones, and let the disk be full: what
test_kill runs.

``python killing.py FOLDER KILLS [THINNED [STAGE...]]`` imports everything once and forks a process for each run of the
command line, so that a run costs its own work and not the start of Python: a hundred kills of each stage take minutes.
Nothing waits for the disk: what a killed process has written is the system's, and fsync guards against a loss of power
only. Of the chosen moments it takes one in THINNED. It prints a table of what was found, and on its last line {stage:
what was found}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
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
    "pretrain": (
        "pretrain tokens.safetensors --objective mlm+nsp --n-layers 1 --d-model 32 --n-heads 2 --max-len "
        "32 --batch-tokens 256 --dropout 0.3 --accumulate 2 --steps 12 --short-fraction 0.5 --dev "
        "dev.safetensors --eval-every 5"
    ).split(),
    "finetune": (
        "finetune bert.safetensors train.jsonl --dev dev.jsonl --steps 12 --batch-tokens 256 "
        "--eval-every 5 --dropout 0.2 --optimizer adafactor"
    ).split(),
    "distill": (
        "distill teacher.safetensors train.jsonl --dev dev.jsonl --steps 12 --batch-tokens 256 "
        "--eval-every 5 --optimizer muon"
    ).split(),
    "replay": "distill teacher.safetensors train.jsonl --steps 12 --batch-tokens 256 --replay 1".split(),
    "glove": ["vectors", "glove", "cooc.safetensors", "--dim", "16", "--epochs", "12"],
    # The lowest loss is that of the second epoch of fourteen; its weights are part of the state, and what is kept.
    "word2vec": (
        "vectors train corpus.txt --dim 24 --epochs 40 --lr 0.1 --sample 0 --dev held.txt --patience 12"
    ).split(),
    "subwords": "vectors train corpus.txt --dim 16 --epochs 60 --subwords 1-3 --buckets 500 --method cbow".split(),
    # Those that save nothing, and begin again.
    "cooccur": ["vectors", "cooccur", "corpus.txt"],
    "tokenizer": ["tokenizer", "train", "corpus.txt", "--kind", "unigram", "--vocab-size", "120"],
    "tokens": ["tokens", "corpus.txt", "--tokenizer", "tok.safetensors"],
}
BEGIN_AGAIN = {"cooccur", "tokenizer", "tokens"}
# Of the system calls of a stage every n-th is killed at.
CHOSEN = {
    "pretrain": 3,
    "finetune": 7,
    "distill": 7,
    "replay": 5,
    "glove": 2,
    "word2vec": 2,
    "subwords": 18,
    "cooccur": 1,
    "tokenizer": 1,
    "tokens": 1,
}


def child(words: list[str], before: Callable[[], object] = lambda: None) -> int:
    """Run a command line in a process of its own; returns its id."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            quiet = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
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
    saving = [] if stage in BEGIN_AGAIN else ["--save-every", str(save_every)]
    return [*STAGES[stage], "--threads", "1", *saving, "-o", target]


def here(target: str) -> list[str]:
    """The files that a run of ``target`` has left."""
    return sorted(name for name in os.listdir(".") if target in name)


def finish(words: list[str], target: str, sha: str) -> list[str]:
    """Give the command again, as a person or Make would; returns what is wrong afterwards."""
    wrong = []
    if os.path.exists(target) and file.file_sha256(Path(target)) != sha:
        wrong.append("the target was there before the end")
    if code := ended(child(words)):  # also where the target is there: it is what the command writes
        wrong.append(f"exit code {code}, expected 0")
    if here(target) != [target]:
        wrong.append(f"left behind: {here(target)}")
    elif file.file_sha256(Path(target)) != sha:
        wrong.append("other bytes")
    return wrong


def at_random(stage: str, kills: int) -> dict[str, Any]:
    """Kill at random moments, again and again, until so many kills have hit; then let it end. On a busy machine all of
    a few kills may come too early, so the last one waits for a state where no other hit a run that had saved."""
    rng = random.Random(f"{stage} 1")
    whole = f"{stage}-whole.safetensors"
    began = time.monotonic()
    assert ended(child(command(stage, whole, 5), points(None))) == 0, Path("said.txt").read_text()
    took = time.monotonic() - began
    count = int(Path("points.txt").read_text())
    sha = file.file_sha256(Path(whole))
    hit, number, wrong, resumed = 0, 0, [], 0
    while hit < kills and not wrong:
        target = f"{stage}-{number}-random.safetensors"
        words = command(stage, target, 1)
        pid = child(words)
        time.sleep(rng.uniform(0.05, 0.9) * took)
        if stage not in BEGIN_AGAIN and hit == kills - 1 and not resumed:
            late = time.monotonic() + 60
            while not (os.path.exists(f"{target}.resume") or os.path.exists(target)) and time.monotonic() < late:
                time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        if ended(pid) == -signal.SIGKILL and not os.path.exists(target):
            hit += 1
            resumed += os.path.exists(f"{target}.resume")
            if hit < kills and rng.random() < 0.7:
                continue  # the next kill hits the run that goes on
        wrong = finish(words, target, sha)
        number += 1
    return {"sha": sha, "points": count, "kills": hit, "resumed": resumed, "runs": number, "wrong": wrong}


def at_points(stage: str, sha: str, count: int, thinned: int) -> dict[str, Any]:
    """Kill at each of ``count`` system calls around fsync, rename and removal, and inside writes."""
    wrong = {}
    chosen = range(count, 0, -CHOSEN[stage])
    chosen = chosen[list(STAGES).index(stage) % min(thinned, len(chosen)) :: thinned]
    for point in chosen:
        target = f"{stage}-at-{point}.safetensors"
        words = command(stage, target, 5)
        code = ended(child(words, points(point)))
        found = [] if code == -signal.SIGKILL else [f"exit code {code}, expected a kill"]
        if found := found + finish(words, target, sha):
            wrong[point] = found
    return {"points": count, "killed": len(chosen), "wrong": wrong}


def filled(limit: int) -> None:
    """From now on a file of this process that grows beyond the limit meets what the system says of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def full_after_a_save() -> None:
    """Let the disk be full when the first state has its name, for anything half as large."""
    replace = os.replace

    def replaced(source: Any, target: Any) -> None:
        replace(source, target)
        if str(target).endswith(".resume") and not os.path.exists("first.txt"):
            Path("first.txt").write_text(file.file_sha256(Path(target)))
            filled(os.path.getsize(target) // 2)

    os.replace = replaced


def on_a_full_disk(stage: str, sha: str) -> dict[str, Any]:
    """A full disk in the middle of a write: of the second state, or of the result where there are no states."""
    target = f"{stage}-full"
    state, first = Path(f"{target}.resume"), Path("first.txt")
    first.unlink(missing_ok=True)
    limit = os.path.getsize(f"{stage}-whole.safetensors") // 2
    saves = stage not in BEGIN_AGAIN
    code = ended(child(command(stage, target, 2), full_after_a_save if saves else lambda: filled(limit)))
    said, wrong = Path("said.txt").read_text(), []
    if code != 1 or "cannot write: File too large" not in said or "Traceback" in said:
        wrong.append(f"exit code {code}, expected 1: {said[-500:]}")
    left = [*[f"{target}.predictions"] * (stage == "replay"), state.name] if saves else []
    if here(target) != left:
        wrong.append(f"left behind: {here(target)}, expected {left}")
    elif saves and file.file_sha256(state) != first.read_text():
        wrong.append("the state that was saved has changed")
    wrong += finish(command(stage, target, 2), target, sha)
    if saves and "resuming" not in Path("said.txt").read_text():
        wrong.append("the run did not go on from its state")
    return {"saved": saves, "wrong": wrong}


def table(found: dict[str, Any]) -> str:
    """What was found, for people."""
    lines = [
        f"{'stage':10} {'kills':>5} {'of a saved run':>14} {'came to their end':>17} {'at system calls':>15} "
        f"{'full disk':>12} {'wrong':>5}  sha256"
    ]
    for stage, seen in found.items():
        by_chance, points, full = seen["random"], seen["points"], seen["full"]
        wrong = len(by_chance["wrong"]) + len(points["wrong"]) + len(full["wrong"])
        met = "after a save" if full["saved"] else "at the end"
        lines.append(
            f"{stage:10} {by_chance['kills']:5} {by_chance['resumed']:14} {by_chance['runs']:17} "
            f"{points['killed']:15} {met:>12} {wrong:5}  {by_chance['sha'][:16]}"
        )
    return "\n".join(lines)


def main(folder: Path, kills: int, thinned: int, stages: list[str]) -> None:
    os.chdir(folder)
    making.token_file(Path("tokens.safetensors"))
    making.token_file(Path("dev.safetensors"), documents=6, seed=5)
    toys.model(Path("bert.safetensors"))
    toys.texts(Path("train.jsonl"), 120)
    toys.texts(Path("dev.jsonl"), 20, seed=1)
    # In this process, so that all imports are made before it forks. With one thread torch starts no other.
    making.text_file(Path("corpus.txt"))
    making.text_file(Path("held.txt"), lines=20, words=10)
    pieces = ["tokenizer", "train", "corpus.txt", "-o", "tok.safetensors", "--kind", "wordpiece", "--vocab-size", "120"]
    count = ["vectors", "cooccur", "corpus.txt", "-o", "cooc.safetensors"]
    prepare = ["finetune", "bert.safetensors", "train.jsonl", "-o", "teacher.safetensors", "--steps", "2"]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        for words in (
            pieces,
            count,
            [*prepare, "--threads", "1"],
            *(command(stage, f"{stage}-first", 5) for stage in stages),
        ):
            assert app.run(words) == 0, said.getvalue()
    os.fsync = lambda handle: None  # type: ignore[assignment]
    found = {}
    for stage in stages:
        by_chance = at_random(stage, kills)
        sha = by_chance["sha"]
        found[stage] = {
            "random": by_chance,
            "points": at_points(stage, sha, by_chance["points"], thinned),
            "full": on_a_full_disk(stage, sha),
        }
        print(table(found).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int((*sys.argv, "1")[3]), sys.argv[4:] or list(STAGES))
