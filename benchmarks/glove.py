"""GloVe: speed, memory and quality of `nlpkit vectors cooccur` and `glove` beside the authors' C program.

Both sides run as whole commands on the same file of words (nlpkit's word rule, a sentence a line; see
benchmarks/word_vectors.py), with equal options: window 10, words of 5 and more occurrences, rate 0.05, x-max 100 (or
as asked) and exponent 0.75, 1 GB for counting. The C program keeps its numbers in 64 bits and takes cells as its
threads come to them, so two of its threads are never the same twice; nlpkit keeps 32 bits and gives the same bytes on
any number of threads, which is checked here. See benchmarks/glove_peer.py for where the C program is had from; without
--sources only nlpkit is measured.

    python benchmarks/glove.py --sources SOURCES                       # quality: 25 epochs, three seeds of ours
    python benchmarks/glove.py --sources SOURCES --slices 5 --threads 1 2   # speed: both in turn
    python benchmarks/glove.py --report

"count" is from words to shuffled cells: `cooccur` against vocab_count, cooccur and shuffle. "train" is from there to
vectors with --slice-epochs epochs (nlpkit sorts its cells in that time). Speed is the median over the turns, with the
least and the greatest; on one thread of processor seconds, else of seconds. One epoch by itself is the difference of
runs with and without. Every step reads and writes two rows and their squares; the rate at which it does so is shown
beside that of a large copy, which is what the memory can do: a figure above it means that rows come from a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from english import DEFAULT
from word_vectors import split_text
from word_vectors_quality import Model, in_order, judgements

from nlpkit.vectors.file import load

HERE = Path(__file__).parent
Record = dict[str, Any]


def measured(command: list[str], threads: int) -> Record:
    """Run a command; seconds (wall, processor) and greatest memory of its process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    whole = [sys.executable, "-S", str(HERE / "measured.py"), *command]
    done = subprocess.run(whole, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    found: Record = json.loads(done.stdout)
    return found


class Bench:
    """A folder with the words, and the file of results."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder, self.sources = arguments.dir, arguments.sources
        self.dim, self.x_max = arguments.dim, arguments.x_max
        self.results = arguments.results or self.folder / "glove.jsonl"
        self.words, held = self.folder / "train.txt", self.folder / "held.txt"
        self.folder.mkdir(exist_ok=True, parents=True)
        if not held.exists():
            split_text(arguments.text or self.folder / "english.txt", self.words, held)
        if arguments.words is not None:
            self.words = beginning(self.words, arguments.words)
        self.tools = ["nlpkit", *(["glove.c"] if self.sources else [])]
        self.runs = self.folder / "glove-runs"
        self.runs.mkdir(exist_ok=True, parents=True)

    def records(self) -> list[Record]:
        return [json.loads(line) for line in self.results.read_text().splitlines()] if self.results.exists() else []

    def keep(self, record: Record) -> None:
        with self.results.open("a") as out:
            out.write(json.dumps(record) + "\n")
        print(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}, flush=True
        )

    def command(self, tool: str, step: str, *flags: str) -> list[str]:
        """The command line of a step; counting before training."""
        if tool == "glove.c":
            paths = [str(self.words)] if step == "count" else []
            peer = [sys.executable, str(HERE / "glove_peer.py"), str(self.sources), step]
            return [*peer, *paths, str(self.runs / "peer"), *flags]
        ours = [sys.executable, "-m", "nlpkit", "vectors"]
        table, vectors = str(self.runs / "table.safetensors"), str(self.runs / "vectors.safetensors")
        paths = ["cooccur", str(self.words), "-o", table] if step == "count" else ["glove", table, "-o", vectors]
        return [*ours, *paths, "--force", *flags]

    def count(self, tool: str, threads: int) -> Record:
        alone = ["--threads", str(threads), "--memory-mb", "1024"] if tool == "nlpkit" else ["--memory-gb", "1"]
        return measured(self.command(tool, "count", "--window", "10", "--min-count", "5", *alone), threads)

    def train(self, tool: str, threads: int, epochs: int, seed: int = 0) -> Record:
        flags = ["--dim", str(self.dim), "--epochs", str(epochs), "--threads", str(threads)]
        flags += ["--lr", "0.05", "--x-max", str(self.x_max)]
        if tool == "nlpkit":
            flags += ["--alpha", "0.75", "--seed", str(seed), "--fresh"]
        return measured(self.command(tool, "train", *flags), threads)

    def model(self, tool: str) -> Model:
        """What was learnt last, in the common order of words."""
        if tool == "nlpkit":
            opened = load(self.runs / "vectors.safetensors")
            return in_order(Model(opened.words, opened.counts, opened.vectors, None, None))
        rows = [line.split(" ") for line in (self.runs / "peer" / "vocab.txt").read_text("utf-8").splitlines()]
        raw = np.fromfile(self.runs / "peer" / "vectors.bin").reshape(2, len(rows), self.dim + 1)
        vectors = raw[:, :, : self.dim].sum(0).astype(np.float32)
        words, counts = [word for word, _ in rows], np.array([int(count) for _, count in rows])
        return in_order(Model(words, counts, vectors, None, None))


def beginning(words: Path, most: int) -> Path:
    """The first so many words of a file, at the end of a line, in a file of their own."""
    piece = words.with_name(f"{words.stem}-{most}.txt")
    if not piece.exists():
        with words.open(encoding="utf-8") as lines, piece.open("w", encoding="utf-8") as out:
            for line in lines:
                out.write(line)
                most -= line.count(" ") + 1
                if most <= 0:
                    break
    return piece


def quality(bench: Bench, arguments: argparse.Namespace) -> None:
    """Whole runs. The C program draws with a fixed seed, so it is run once."""
    shared = {"kind": "quality", "dim": bench.dim, "epochs": arguments.epochs, "x_max": bench.x_max}
    for tool in bench.tools:
        bench.keep({"kind": "count", "tool": tool, "threads": 1, **bench.count(tool, 1)})
        for seed in arguments.seed if tool == "nlpkit" else [0]:
            took = bench.train(tool, 1, arguments.epochs, seed)
            model = bench.model(tool)
            bench.keep(
                {
                    **shared,
                    "tool": tool,
                    "seed": seed,
                    "vocabulary": model.vocabulary,
                    "vocab_size": len(model.words),
                    **took,
                    **judgements(model),
                }
            )


def slices(bench: Bench, arguments: argparse.Namespace) -> None:
    """Both in turn, after one run of each that compiles. Ours must have the same bytes for any number of threads."""
    for tool in bench.tools:
        bench.count(tool, 1)
        bench.train(tool, 1, 0)
    steps = int(
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "nlpkit", "info", str(bench.runs / "table.safetensors"), "--json"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )["config"]["n_cells"]
    )
    vectors = set()
    for turn in range(arguments.slices):
        jobs = [(tool, threads) for tool in bench.tools for threads in arguments.threads]
        for tool, threads in jobs[turn % len(jobs) :] + jobs[: turn % len(jobs)]:
            shared = {"tool": tool, "threads": threads, "turn": turn, "dim": bench.dim, "cells": steps}
            if tool == "nlpkit" or threads == 1:  # the C program counts on one thread
                bench.keep({"kind": "slice-count", **shared, **bench.count(tool, threads)})
            for epochs in (0, arguments.slice_epochs):
                took = bench.train(tool, threads, epochs)
                bench.keep({"kind": "slice-train", **shared, "epochs": epochs, **took, "copy": copy_rate()})
            if tool == "nlpkit":
                vectors.add(bench.model(tool).vectors.tobytes())
    if len(vectors) != 1:
        sys.exit("the bytes depend on the threads")


def copy_rate() -> float:
    """Bytes a second that one thread reads and writes while it copies what no cache holds."""
    source = np.ones(1 << 26, np.float32)
    target = np.zeros_like(source)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best


def report(records: list[Record]) -> str:
    """The tables, as markdown."""
    lines = ["| step | tool | threads | seconds | memory, MB |", "|---|---|---|---|---|"]

    def key(record: Record) -> tuple[Any, ...]:
        return record["kind"], record["tool"], record["threads"], record.get("epochs")

    turns = [record for record in records if record["kind"].startswith("slice")]
    seconds: dict[tuple[Any, ...], dict[int, float]] = {}
    for record in turns:
        clock = "cpu" if record["threads"] == 1 else "wall"
        seconds.setdefault(key(record), {})[record["turn"]] = record[clock]
    for name, values in sorted(seconds.items(), key=str):
        memory = max(record["peak_mb"] for record in turns if key(record) == name)
        step = name[0].removeprefix("slice-") + ("" if name[3] is None else f", {name[3]} epochs")
        lines.append(f"| {step} | {name[1]} | {name[2]} | {spread(list(values.values()))} | {memory:,.0f} |")
    lines += [
        "",
        "| one epoch | tool | threads | seconds | ns a step | GB/s of rows | a copy, GB/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, tool, threads, epochs in sorted((name for name in seconds if name[3]), key=str):
        none = seconds[kind, tool, threads, 0]
        whole = seconds[kind, tool, threads, epochs]
        one = [(whole[turn] - none[turn]) / epochs for turn in sorted(whole) if turn in none]
        some = next(record for record in turns if key(record) == (kind, tool, threads, epochs))
        steps = 2 * some["cells"]  # but for cells of two equal words
        touched = 2 * 2 * 2 * some["dim"] * (4 if tool == "nlpkit" else 8)  # read and written: two rows, their squares
        middle = statistics.median(one)
        copies = statistics.median(record["copy"] for record in turns if "copy" in record)
        lines.append(
            f"| {some['dim']} wide | {tool} | {threads} | {spread(one)} | {1e9 * middle / steps:.0f} | "
            f"{steps * touched / middle / 1e9:.0f} | {copies / 1e9:.1f} |"
        )
    lines += [
        "",
        "| quality | seed | epochs | x-max | WordSim | SimLex | analogies | semantic | syntactic | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        if record["kind"] == "quality":
            found = " | ".join(
                f"{record[name]:.3f}" for name in ("wordsim", "simlex", "analogies", "semantic", "syntactic")
            )
            asked = f"{record['tool']}, {record['dim']} | {record['seed']} | {record['epochs']} | {record['x_max']:g}"
            lines.append(f"| {asked} | {found} | {record['cpu']:.0f} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} .. {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--dir", type=Path, default=DEFAULT, help=f"where the text lies and runs are kept (default: {DEFAULT})")
    add("--text", type=Path, default=None, help="another text, a sentence a line (default: DIR/english.txt)")
    add("--words", type=int, default=None, help="only so many of the text's first words (default: all)")
    add("--results", type=Path, default=None, help="JSON lines to append to (default: DIR/glove.jsonl)")
    add("--sources", type=Path, default=None, help="the C program's sources (benchmarks/glove_peer.py)")
    add("--dim", type=int, default=100, help="width (default: 100)")
    add("--x-max", type=float, default=100.0, help="counts from here on weigh 1 (default: 100)")
    add("--epochs", type=int, default=25, help="of the runs for quality (default: 25)")
    add("--seed", nargs="+", type=int, default=[1, 2, 3], help="of ours (default: 1 2 3)")
    add("--threads", nargs="+", type=int, default=[1, 2], help="of the slices (default: 1 2)")
    add("--slices", type=int, default=0, metavar="N", help="measure speed instead, N times in turn")
    add("--slice-epochs", type=int, default=3, help="epochs of a slice (default: 3)")
    add("--report", action="store_true", help="print the results as markdown")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if arguments.report:
        print(report(bench.records()))
    elif arguments.slices:
        slices(bench, arguments)
    else:
        quality(bench, arguments)


if __name__ == "__main__":
    main()
