"""Training on cores that another process uses too: threads that wait by spinning against threads that do not.

    python benchmarks/busy_machine.py [--runs 3] [--steps 40] [--only bert vectors]

Pre-trains a tiny BERT on all cores through the command line, alone and beside as many busy processes as there are
cores, with OpenMP's own way of waiting (GOMP_SPINCOUNT unset) and with nlpkit's. Prints tokens per second of each run
and the ratio of the medians, nlpkit's to OpenMP's.

Trains word vectors, alone and beside one busy process, on one thread, on all cores with threads that wait by giving
their core away again and again, and with threads that sleep. Prints seconds of each run, whole commands, and how many
times as fast as one thread the others are, by medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import nlpkit
from nlpkit.base.world import default_threads

RUN = """
import os, sys
from nlpkit.cli import app
app.yield_cores = app.yield_cores if sys.argv[1] == "nlpkit" else (lambda: None)
app.main(sys.argv[2:])
"""


def tokens_per_second(way: str, folder: Path, steps: int) -> float:
    """One run in a process of its own."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    words = [
        "pretrain",
        str(folder / "tokens.safetensors"),
        "-o",
        str(folder / "model.safetensors"),
        "--force",
        "--fresh",
        "--steps",
        str(steps),
        "--log-every",
        str(steps // 2),
        "--log",
        str(log),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    subprocess.run([sys.executable, "-c", RUN, way, *words], check=True, capture_output=True, env=environment)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return float([event for event in events if event["event"] == "step"][-1]["tokens_per_second"])


VECTORS = """
import sys
from nlpkit.vectors.word2vec import learner
system = learner.system()
learner.system = lambda: system._replace(syscall=system.syscall if sys.argv[1] == "sleeping" else 0)
from nlpkit.cli import app
app.main(sys.argv[2:])
"""


def seconds(way: str, folder: Path, threads: int) -> float:
    """One run of word vectors in a process of its own."""
    words = [
        "vectors",
        "train",
        str(folder / "corpus.txt"),
        "-o",
        str(folder / "vectors.safetensors"),
        "--force",
        "--fresh",
        "--threads",
        str(threads),
    ]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", VECTORS, way, *words], check=True, capture_output=True)
    return time.perf_counter() - began


@contextmanager
def beside(busy: int) -> Iterator[None]:
    """So many other processes work during the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    print(f"beside {busy} busy processes:")
    try:
        yield
    finally:
        for other in others:
            other.kill()


def bert(folder: Path, options: argparse.Namespace) -> None:
    corpus = [folder / "corpus.txt"]
    nlpkit.tokenizer_train(corpus, folder / "tok.safetensors", kind="wordpiece", vocab_size=4000)
    nlpkit.tokens(corpus, folder / "tokens.safetensors", tokenizer=folder / "tok.safetensors")
    for busy in (0, default_threads()):
        found: dict[str, list[float]] = {"OpenMP": [], "nlpkit": []}
        with beside(busy):
            for _ in range(options.runs):
                for way, values in found.items():
                    values.append(tokens_per_second(way, folder, options.steps))
        for way, values in found.items():
            print(f"  {way:<7}" + "".join(f"{value:>10,.0f}" for value in values) + " tokens/s")
        print(f"  ratio of medians {median(found['nlpkit']) / median(found['OpenMP']):.2f}")


def vectors(folder: Path, options: argparse.Namespace) -> None:
    ways = {
        "one thread": ("sleeping", 1),
        "giving way": ("giving way", default_threads()),
        "sleeping": ("sleeping", default_threads()),
    }
    seconds("sleeping", folder, 2)  # compiles
    for busy in (0, 1):
        found: dict[str, list[float]] = {name: [] for name in ways}
        with beside(busy):
            for _ in range(options.runs):
                for name, (way, threads) in ways.items():
                    found[name].append(seconds(way, folder, threads))
        for name, values in found.items():
            gain = median(found["one thread"]) / median(values)
            print(f"  {name:<10}" + "".join(f"{value:>8.2f}" for value in values) + f" s, {gain:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--steps", type=int, default=40, help="updates of a run")
    parser.add_argument("--only", nargs="+", choices=("bert", "vectors"), default=["bert", "vectors"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        nlpkit.demo(folder, data_only=True)
        for name in options.only:
            {"bert": bert, "vectors": vectors}[name](folder, options)


if __name__ == "__main__":
    main()
