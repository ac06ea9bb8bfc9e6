"""Kill -9 at random moments, and let the disk be full: every command that trains ends in the same bytes every time.

    python benchmarks/kill.py --kills 20 --full 5

Each stage is run once undisturbed, through the command line in a process of its own. Then it is started again and
again and killed with SIGKILL at moments drawn evenly from its running time, until so many kills have hit a run that had
not ended; a killed run goes on by the same command (stages without a state start over). Printed for each stage: where
the kills fell (the step or epoch that was on disk, "-" when nothing was yet), how many runs came to their end, and
whether every one of them has the sha256 of the undisturbed one and left no other file.

A full disk is a limit to the size of a file, drawn for each run between nothing and the largest file of the undisturbed
one, which the system answers as it does a full disk, in the middle of a write. The command must end with exit code 1
and say that it cannot write, with no target; what it saved before must be whole; and the same command, with room, must
end in the same bytes. The exit code is 1 when anything is otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from nlpkit.artifact import file
from nlpkit.artifact.provenance import unfinished

VECTORS = ["--dim", "64", "--epochs", "12", "--save-every", "1"]
SHAPE = ["--n-layers", "2", "--d-model", "64", "--batch-tokens", "2048", "--dropout", "0.2"]
OFTEN = ["--steps", "30", "--save-every", "2", "--eval-every", "15"]
STAGES: dict[str, list[str]] = {
    "pretrain": ["pretrain", "tokens.safetensors", "--objective", "mlm+nsp", *SHAPE, "--dev", "dev.safetensors",
                 "--accumulate", "2", *OFTEN],
    "finetune": ["finetune", "bert.safetensors", "train.jsonl", "--label", "genre", "--dev", "few.jsonl", *OFTEN],
    "distill": ["distill", "teacher.safetensors", "train.jsonl", "--dev", "few.jsonl", *OFTEN],
    "vectors train": ["vectors", "train", "part.txt", *VECTORS],
    "vectors cooccur": ["vectors", "cooccur", "corpus.txt"],
    "vectors glove": ["vectors", "glove", "counts.safetensors", *VECTORS],
    "tokenizer train": ["tokenizer", "train", "part.txt", "--kind", "unigram", "--vocab-size", "2000"],
    "tokens": ["tokens", "corpus.txt", "--tokenizer", "tok.safetensors"],
}  # fmt: skip
RESUMED = {"pretrain", "finetune", "distill", "vectors train", "vectors glove"}


@dataclass
class Found:
    """What happened to one stage. ``steps``: what was on disk at each kill; ``seconds``: when it fell."""

    sha: str
    took: float
    steps: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finished: int = 0
    full: int = 0
    saved: int = 0
    wrong: list[str] = field(default_factory=list)


def nlpkit(*words: str) -> None:
    """Run a command to its end; stop with what it says when it fails."""
    done = subprocess.run([sys.executable, "-m", "nlpkit", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"nlpkit {' '.join(words)}: {done.stderr}")


def prepare() -> None:
    """Shakespeare's plays, and everything the stages read."""
    nlpkit("demo", "--dir", ".", "--data-only")
    few = Path("dev.jsonl").read_text("utf-8").splitlines(keepends=True)[:100]
    Path("few.jsonl").write_text("".join(few), "utf-8")
    Path("dev.txt").write_text("\n".join(Path("corpus.txt").read_text("utf-8").splitlines()[:600]), "utf-8")
    nlpkit("tokenizer", "train", "corpus.txt", "-o", "tok.safetensors", "--kind", "wordpiece", "--vocab-size", "2000")
    for text, made in (("corpus.txt", "tokens.safetensors"), ("dev.txt", "dev.safetensors")):
        nlpkit("tokens", text, "--tokenizer", "tok.safetensors", "-o", made)
    lines = Path("corpus.txt").read_text("utf-8").splitlines(keepends=True)
    Path("part.txt").write_text("".join(lines[:40_000]), "utf-8")
    nlpkit("vectors", "cooccur", "part.txt", "-o", "counts.safetensors")
    nlpkit("pretrain", "tokens.safetensors", "-o", "bert.safetensors", *SHAPE, "--steps", "20")
    nlpkit("finetune", "bert.safetensors", "train.jsonl", "--label", "genre", "-o", "teacher.safetensors", "--steps",
           "20")  # fmt: skip


def on_disk(target: Path) -> str:
    """Where a run would go on: the step or epoch of its state."""
    state = unfinished(target)
    if not state.exists():
        return "-"
    config = file.read(state).config
    return str(config.get("step", config.get("epoch")))


def run(stage: str, kills: int, seed: int) -> Found:
    """Kill one stage so many times."""
    name = "run-" + stage.replace(" ", "-")
    whole = Path(f"{name}.safetensors")
    began = time.monotonic()
    nlpkit(*STAGES[stage], "-o", str(whole))
    found = Found(file.file_sha256(whole), time.monotonic() - began)
    rng = random.Random(f"{stage} {seed}")
    while len(found.steps) < kills:
        target = Path(f"{name}-{found.finished}.safetensors")
        command = [sys.executable, "-m", "nlpkit", *STAGES[stage], "-o", str(target)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        moment = rng.uniform(0, found.took)
        try:
            said = process.communicate(timeout=moment)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1]
        if process.returncode == -signal.SIGKILL and not target.exists():
            found.steps.append(on_disk(target))
            found.seconds.append(moment)
            continue
        found.finished += 1
        if process.returncode == -signal.SIGKILL:  # it fell behind the rename: the target must be whole
            found.steps.append("end")
            found.seconds.append(moment)
            subprocess.run(command, stderr=subprocess.DEVNULL)  # says that it exists already
        elif process.returncode:
            found.wrong.append(f"{target}: exit code {process.returncode}: {said.decode()}")
        check(target, found)
    target = Path(f"{name}-{found.finished}.safetensors")
    nlpkit(*STAGES[stage], "-o", str(target))
    found.finished += 1
    check(target, found)
    return found


def fill(stage: str, count: int, seed: int, found: Found) -> None:
    """Run one stage so many times on a disk that is full at some size of a file, and once more with room."""
    name = "run-" + stage.replace(" ", "-")
    largest = max(Path(f"{name}.safetensors").stat().st_size * 4 if stage in RESUMED else
                  Path(f"{name}.safetensors").stat().st_size, 2000)  # fmt: skip
    rng = random.Random(f"{stage} full {seed}")
    for number in range(count):
        target = Path(f"{name}-full-{number}.safetensors")
        limit = rng.randrange(1000, largest)
        command = [sys.executable, "-m", "nlpkit", *STAGES[stage], "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda limit=limit: (
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))  # fmt: skip
        if done.returncode:
            found.full += 1
            said = done.stderr.strip().splitlines()
            if done.returncode != 1 or not any("cannot write" in line for line in said) or "Traceback" in done.stderr:
                found.wrong.append(f"{target}: at {limit:,} bytes, exit code {done.returncode}: {done.stderr[-300:]}")
            if target.exists():
                found.wrong.append(f"{target}: is there after a full disk")
            if unfinished(target).exists():
                file.read(unfinished(target)).check()
                found.saved += 1
            nlpkit(*STAGES[stage], "-o", str(target))
        check(target, found)


def check(target: Path, found: Found) -> None:
    """A run that came to its end: the same bytes, and nothing beside them."""
    if not target.exists():
        found.wrong.append(f"{target}: is not there")
    elif file.file_sha256(target) != found.sha:
        found.wrong.append(f"{target}: other bytes")
    left = [path.name for path in Path(".").iterdir() if target.name in path.name and path != target]
    if left:
        found.wrong.append(f"{target}: left behind {', '.join(left)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills of each stage")
    parser.add_argument("--full", type=int, default=5, help="runs of each stage on a full disk")
    parser.add_argument("--stage", choices=STAGES, action="append", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="nlpkit-kill-") as folder:
        os.chdir(folder)
        prepare()
        for stage in given.stage or STAGES:
            found = run(stage, given.kills, given.seed)
            fill(stage, given.full, given.seed, found)
            good = good and not found.wrong
            print(f"{stage}: {len(found.steps)} kills, {found.finished} runs came to their end, "
                  f"{'all' if not found.wrong else 'NOT all'} with sha256 {found.sha[:16]}")  # fmt: skip
            print(f"  undisturbed {found.took:.1f} s; killed at second "
                  f"{' '.join(f'{moment:.1f}' for moment in found.seconds)}")  # fmt: skip
            print(f"  on disk when killed: {' '.join(found.steps)}")
            print(f"  full disk: {found.full} of {given.full} runs met it, {found.saved} of them had saved a state",
                  flush=True)  # fmt: skip
            for line in found.wrong:
                print(f"  WRONG: {line}")
        os.chdir("/")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
