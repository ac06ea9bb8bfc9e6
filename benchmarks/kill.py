"""Kill -9 at random moments, and let the disk be full: every command that trains ends in the same bytes every time.

    python benchmarks/kill.py --kills 20 --full 5

Each stage is run once undisturbed, through the command line in a process of its own. Then it is started again and
again and killed with SIGKILL at moments drawn evenly from its running time, until so many kills have hit a run that had
not ended; a killed run goes on by the same command (stages without a state start over). The table has how many kills
there were, and how many of them hit a run that had saved a state; how many runs came to their end; and how often a full
disk was met. A stage of a minute takes half an hour for a hundred kills; tests/bytes/killing.py does so with small
models in forked processes, in minutes.

A full disk is a limit to the size of a file, which the system answers as it does a full disk, in the middle of a write.
A stage that saves meets it after its first save: it is stopped there, told the limit, drawn between nothing and the
size of its state, and goes on. Others have it from the start, drawn up to the size of their result. The command must
end with exit code 1 and say that it cannot write, with no target; what was saved before must be whole; and the same
command, with room, must go on from it and end in the same bytes. The exit code is 1 when anything is otherwise.
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
    "pretrain": [
        "pretrain",
        "tokens.safetensors",
        "--objective",
        "mlm+nsp",
        *SHAPE,
        "--dev",
        "dev.safetensors",
        "--accumulate",
        "2",
        *OFTEN,
    ],
    "finetune": ["finetune", "bert.safetensors", "train.jsonl", "--dev", "few.jsonl", *OFTEN],
    "distill": ["distill", "teacher.safetensors", "train.jsonl", "--dev", "few.jsonl", *OFTEN],
    "vectors train": ["vectors", "train", "part.txt", *VECTORS],
    "vectors cooccur": ["vectors", "cooccur", "corpus.txt"],
    "vectors glove": ["vectors", "glove", "counts.safetensors", *VECTORS],
    "tokenizer train": ["tokenizer", "train", "part.txt", "--kind", "unigram", "--vocab-size", "2000"],
    "tokens": ["tokens", "corpus.txt", "--tokenizer", "tok.safetensors"],
}
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
    few = Path("test.jsonl").read_text("utf-8").splitlines(keepends=True)[:100]
    Path("few.jsonl").write_text("".join(few), "utf-8")
    Path("dev.txt").write_text("\n".join(Path("corpus.txt").read_text("utf-8").splitlines()[:600]), "utf-8")
    nlpkit("tokenizer", "train", "corpus.txt", "-o", "tok.safetensors", "--kind", "wordpiece", "--vocab-size", "2000")
    for text, made in (("corpus.txt", "tokens.safetensors"), ("dev.txt", "dev.safetensors")):
        nlpkit("tokens", text, "--tokenizer", "tok.safetensors", "-o", made)
    lines = Path("corpus.txt").read_text("utf-8").splitlines(keepends=True)
    Path("part.txt").write_text("".join(lines[:40_000]), "utf-8")
    nlpkit("vectors", "cooccur", "part.txt", "-o", "counts.safetensors")
    nlpkit("pretrain", "tokens.safetensors", "-o", "bert.safetensors", *SHAPE, "--steps", "20")
    nlpkit("finetune", "bert.safetensors", "train.jsonl", "-o", "teacher.safetensors", "--steps", "20")


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
    """Run one stage so many times on a disk that becomes full, and once more with room."""
    name = "run-" + stage.replace(" ", "-")
    rng = random.Random(f"{stage} full {seed}")
    for number in range(count):
        target = Path(f"{name}-full-{number}.safetensors")
        command = [sys.executable, "-m", "nlpkit", *STAGES[stage], "-o", str(target)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        saved = stage in RESUMED and wait_for_a_save(process, target)
        largest = unfinished(target) if saved else Path(f"{name}.safetensors")
        limit = rng.randrange(1000, max(largest.stat().st_size, 2000))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        process.send_signal(signal.SIGCONT)
        said = process.communicate()[1]
        if process.returncode:
            found.full += 1
            if process.returncode != 1 or "cannot write" not in said or "Traceback" in said:
                found.wrong.append(f"{target}: at {limit:,} bytes, exit code {process.returncode}: {said[-300:]}")
            if target.exists():
                found.wrong.append(f"{target}: is there after a full disk")
            if saved:
                file.read(unfinished(target)).check()
                found.saved += 1
            again = subprocess.run(command, capture_output=True, text=True)
            if again.returncode or saved != ("resuming" in again.stderr):
                found.wrong.append(f"{target}: with room again, exit code {again.returncode}: {again.stderr[-300:]}")
        check(target, found)


def wait_for_a_save(process: subprocess.Popen[str], target: Path) -> bool:
    """Stop a process when it has saved a state; False when it ends before."""
    while process.poll() is None:
        if unfinished(target).exists():
            process.send_signal(signal.SIGSTOP)
            return True
        time.sleep(0.002)
    return False


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
    parser.add_argument("--moments", action="store_true", help="print where each kill fell")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="nlpkit-kill-") as folder:
        os.chdir(folder)
        prepare()
        print(
            f"{'stage':15} {'seconds':>7} {'kills':>5} {'of a saved run':>14} {'came to their end':>17} "
            f"{'full disk':>9} {'after a save':>12} {'wrong':>5}  sha256",
            flush=True,
        )
        for stage in given.stage or STAGES:
            found = run(stage, given.kills, given.seed)
            fill(stage, given.full, given.seed, found)
            good = good and not found.wrong
            saved = sum(step not in ("-", "end") for step in found.steps)
            print(
                f"{stage:15} {found.took:7.1f} {len(found.steps):5} {saved:14} {found.finished:17} {found.full:9} "
                f"{found.saved:12} {len(found.wrong):5}  {found.sha[:16]}",
                flush=True,
            )
            for line in found.wrong:
                print(f"  WRONG: {line}")
            if given.moments:
                print(f"  killed at second {' '.join(f'{moment:.1f}' for moment in found.seconds)}")
                print(f"  on disk when killed: {' '.join(found.steps)}")
        os.chdir("/")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
