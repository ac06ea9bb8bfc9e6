"""Several processes that train as one: what the tests of this folder run once and look at.

``python launching.py FOLDER few|many`` imports everything, then forks the processes of each scenario, with the
environment and the store that torchrun would give them, so that a scenario costs its own work and not the start of
Python. Few are one or two numbers of processes a stage, many are all. It prints {scenario: what was found}. One test
starts the real torchrun.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import making
import numpy as np
import torch._dynamo  # FSDP imports it: seconds, once here and not in each process
import torch.distributed as dist
import torch.distributed.fsdp  # noqa: F401 - as above
import toys

import nlpkit
from nlpkit.artifact import atomic, file
from nlpkit.base.stop import StopSignal
from nlpkit.cli import app
from nlpkit.training import loop
from nlpkit.training.parallel import distributed, reduction

# Every optimizer. Sequences of unequal length, short ones first, more parts than some batches have sequences, dropout,
# two batches a step, evaluations.
STAGES: dict[str, list[str]] = {
    "pretrain": (
        "pretrain tokens.safetensors --objective mlm+nsp --n-layers 2 --d-model 24 --n-heads 2 --max-len "
        "40 --batch-tokens 80 --dropout 0.3 --accumulate 2 --steps 7 --short-fraction 0.3 --dev "
        "dev.safetensors --eval-every 4"
    ).split(),
    "gpt2": (
        "pretrain tokens.safetensors --model gpt2 --n-layers 1 --d-model 24 --n-heads 2 --max-len 24 "
        "--batch-tokens 384 --dropout 0 --steps 12 --log-every 1"
    ).split(),
    "finetune": (
        "finetune bert.safetensors train.jsonl --dev dev.jsonl --steps 6 --dropout 0.2 --batch-tokens 64 "
        "--eval-every 3 --optimizer adafactor --beta1 0.9"
    ).split(),
    "distill": (
        "distill teacher.safetensors train.jsonl --dev dev.jsonl --steps 6 --batch-tokens 128 "
        "--eval-every 3 --optimizer muon"
    ).split(),
}
Before = Callable[[int], object]
Ended = tuple[int, str]  # exit code, or minus a signal; what was said


def launch(
    words: list[str], size: int, before: Before = lambda rank: None, after: Callable[[list[int]], object] | None = None
) -> list[Ended]:
    """Run a command line in ``size`` processes; how each ended. ``before`` runs in each, ``after`` here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = dist.TCPStore("127.0.0.1", port, size, True, wait_for_workers=False)  # torchrun's
    pids: list[int] = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                place = {
                    "RANK": rank,
                    "WORLD_SIZE": size,
                    "LOCAL_RANK": rank,
                    "LOCAL_WORLD_SIZE": size,
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port,
                    "TORCHELASTIC_USE_AGENT_STORE": True,
                }
                if size > 1:
                    os.environ.update({name: str(value) for name, value in place.items()})
                said = os.open(f"said-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(said, 1)
                os.dup2(said, 2)
                before(rank)
                code = app.run([*words, "--threads", "1"])
            finally:
                os._exit(code)
        pids.append(pid)
    if after is not None:
        after(pids)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    del store
    return [(code, Path(f"said-{rank}.txt").read_text()) for rank, code in enumerate(codes)]


def made(stage: str, target: str, size: int, *more: str, before: Before = lambda rank: None) -> str:
    """The sha256 of what a stage writes; what the processes said when it wrote nothing."""
    ended = launch([*STAGES[stage], "-o", target, *more], size, before)
    if [code for code, _ in ended] != [0] * size:
        return f"failed: {ended}"
    return file.file_sha256(Path(target))


FEW = {"pretrain": ["3 ddp", "2 fsdp checkpointing"], "finetune": ["2 ddp"]}
MANY = {
    "pretrain": ["3 ddp", "4 ddp checkpointing", "2 fsdp checkpointing", "4 fsdp"],
    "gpt2": ["3 ddp", "2 fsdp"],
    "finetune": ["2 ddp", "4 fsdp"],
    "distill": ["3 ddp", "2 fsdp"],
}


def same_bytes(many: bool) -> dict[str, Any]:
    """Each stage in one process, and in several; with ``parts`` fixed everything is the same."""
    runs = MANY if many else FEW
    found: dict[str, Any] = {}
    for stage, several in runs.items():
        found[stage] = {"1": made(stage, f"{stage}-1.safetensors", 1, "--parts", "4")}
        for run in several:
            size, way, *more = run.split()
            target = f"{stage}-{size}-{way}.safetensors"
            words = ["--parts", "4", "--parallel", way, *(f"--{name}" for name in more)]
            found[stage][run] = made(stage, target, int(size), *words, before=only_one_writes)
    small = reduction.BUCKET_BYTES
    reduction.BUCKET_BYTES = 2000  # many buckets, that travel while the backward goes on
    found["pretrain"]["2 ddp, small buckets"] = made("pretrain", "small.safetensors", 2, "--parts", "4")
    reduction.BUCKET_BYTES = small
    found["verified"] = launch(["verify", "pretrain-3-ddp.safetensors"], 1)
    return found


def only_one_writes(rank: int) -> None:
    """In all processes but the first, whatever opens a file to write ends the process."""
    if rank:

        def refuse(*args: Any, **more: Any) -> Any:
            os.write(2, b"a process that does not lead has written\n")
            os._exit(98)

        atomic.writing = refuse  # type: ignore[assignment]
        file.write = refuse
        os.replace = os.unlink = refuse  # type: ignore[assignment]


def losses(many: bool) -> dict[str, Any]:
    """The losses of each step, where each number of processes computes the same batches in as many parts."""
    found = {}
    for size in (1, 2, 4) if many else (1, 2):
        log = Path(f"losses-{size}.jsonl")
        made("gpt2", f"losses-{size}.safetensors", size, "--log", str(log))
        events = [json.loads(line) for line in log.read_text().splitlines()]
        found[str(size)] = {
            "loss": [event["loss"] for event in events if event["event"] == "step"],
            "norm": [event["gradient_norm"] for event in events if event["event"] == "step"],
            "tokens": [event["tokens"] for event in events if event["event"] == "step"],
            "begins": sum(event["event"] == "stage" for event in events),
            "parts": file.read(Path(f"losses-{size}.safetensors")).provenance["options"]["parts"],
        }
    return found


def dying(step: int, victim: int, number: signal.Signals) -> Before:
    """Send a signal to one process in the middle of a step."""

    def before(rank: int) -> None:
        update, steps = loop.update, []

        def counted(*args: Any) -> float:
            steps.append(0)
            if rank == victim and len(steps) == step:
                os.kill(os.getpid(), number)
            return float(update(*args))

        loop.update = counted

    return before


def resumed(many: bool) -> dict[str, Any]:
    """Begun by two processes and killed; then finished by one, two or four, in two ways."""
    whole, found = made("pretrain", "whole.safetensors", 2), {}
    ways = [
        ("4", ["--parallel", "fsdp"], 4, []),
        ("1", ["--parallel", "ddp"], 1, []),
        ("2 fsdp", ["--parallel", "ddp"], 2, ["--parallel", "fsdp"]),
    ]
    for name, first, size, more in ways if many else ways[:1]:
        target = f"resumed {name}.safetensors"
        words = [*STAGES["pretrain"], "-o", target, "--save-every", "2"]
        killed = launch([*words, *first], 2, dying(6, 1, signal.SIGKILL))
        state = file.read(Path(f"{target}.resume"), kind="resume")
        state.check()
        found[name] = {
            "codes": [code for code, _ in killed],
            "step": state.config["step"],
            "there": Path(target).exists(),
            "whole": whole,
            "sha": made("pretrain", target, size, *more),
            "left": Path(f"{target}.resume").exists(),
        }
    return found


def ends(many: bool) -> dict[str, Any]:
    """How a run ends when a process is killed, stands still, is asked to stop, or cannot read its input."""
    words = [*STAGES["pretrain"], "--save-every", "2", "-o"]
    found: dict[str, Any] = {}
    victims = (0, 1) if many else (1,)
    for victim in victims:
        found[f"killed {victim}"] = launch([*words, f"k{victim}.safetensors"], 2, dying(6, victim, signal.SIGKILL))
    for victim in victims:
        target = f"t{victim}.safetensors"
        found[f"asked {victim}"] = launch([*words, target], 2, dying(5, victim, signal.SIGTERM))
        found[f"asked {victim}"].append(file.read(Path(f"{target}.resume")).config["step"])  # type: ignore[arg-type]
    distributed.TIMEOUT = timedelta(seconds=2)

    def killed(pids: Any) -> None:  # torchrun: when one has ended, the others are killed
        os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOWAIT)
        os.kill(pids[1], signal.SIGKILL)

    found["stopped"] = launch([*words, "s.safetensors"], 2, dying(3, 1, signal.SIGSTOP), killed)
    distributed.TIMEOUT = timedelta(minutes=1)
    os.makedirs("elsewhere", exist_ok=True)
    Path("elsewhere/dev.safetensors").write_bytes(Path("dev.safetensors").read_bytes())

    def moved(rank: int) -> None:
        os.chdir("elsewhere" if rank else ".")

    def terminate(pids: Any) -> None:  # torchrun: when one has ended, the others are asked to
        os.waitid(os.P_PID, pids[1], os.WEXITED | os.WNOWAIT)
        os.kill(pids[0], signal.SIGTERM)

    found["missing"] = launch([*words, "m.safetensors"], 2, moved, terminate)
    Path("elsewhere/tokens.safetensors").write_bytes(Path("dev.safetensors").read_bytes())
    found["other"] = launch([*words, "m.safetensors"], 2, moved)
    for name, line in {
        "typo": [*words, "m.safetensors", "--stpes", "3"],
        "stdin": ["pretrain", "-", "-o", "m.safetensors"],
        "not shared": ["tokens", "text.txt", "--tokenizer", "bert.safetensors", "-o", "m.safetensors"],
        "few": [*words, "m.safetensors", "--parts", "1"],
        "odd": [*words, "m.safetensors", "--parts", "3", "--parallel", "fsdp"],
    }.items():
        found[name] = launch(line, 2)
    found["left"] = [name for name in os.listdir(".") if name.startswith(("m.safetensors", ".m.safetensors"))]
    return found


def spreading(many: bool) -> dict[str, Any]:
    """Results of `spread`: in the order of the items, in every process, for any number of items."""

    def check(rank: int) -> None:
        def run(words: list[str]) -> int:
            distributed.join("cpu")
            for count in (0, 1, 2, 3, 7):
                calls: list[int] = []

                def square(item: int, calls: list[int] = calls) -> np.ndarray:
                    calls.append(item)
                    return np.full((item + 1, 2), item**2)

                rows = distributed.spread(square, list(range(count)))
                assert [row.tolist() for row in rows] == [[[n**2] * 2] * (n + 1) for n in range(count)]
                print(rank, count, calls)
            assert distributed.gather_bytes(b"x" * rank) == [b"", b"x", b"xx"]
            distributed.leave(together=True)
            return 0

        app.run = run  # type: ignore[assignment]

    return {"ended": launch([], 3, check)}


def main(folder: Path, many: bool) -> None:
    os.chdir(folder)
    making.token_file(Path("tokens.safetensors"), documents=20)
    making.token_file(Path("dev.safetensors"), documents=6, seed=5)
    toys.model(Path("bert.safetensors"))
    toys.texts(Path("train.jsonl"), 60)
    toys.texts(Path("dev.jsonl"), 20, seed=1)
    nlpkit.finetune(Path("bert.safetensors"), Path("train.jsonl"), Path("teacher.safetensors"), steps=2, threads=1)
    with contextlib.redirect_stderr(io.StringIO()):  # here once, so that the processes that are forked import nothing
        for name, words in STAGES.items():
            assert app.run([*words, "-o", f"{name}-first.safetensors", "--threads", "1"]) == 0
    StopSignal()
    os.fsync = lambda handle: None  # type: ignore[assignment]
    found: dict[str, Any] = {}
    for scenario in (same_bytes, losses, resumed, ends, spreading):
        began = time.monotonic()
        found[scenario.__name__] = scenario(many)
        print(f"{scenario.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "many")
