"""What benchmarks/pays.py knows of a set: its files, its labelled examples, and the lines that were measured."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import nlpkit

SECONDS = {"stories": 20, "rotten": 150, "imdb": 150}
PAIRS = frozenset({"verses"})  # sets of pairs

Row = dict[str, str]


class Clock:
    """CPU seconds of this process, all threads."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def __call__(self) -> float:
        return round(time.process_time() - self.began, 2)


@dataclass
class Work:
    """One set: its files, and the lines that were measured."""

    name: str
    arguments: argparse.Namespace

    def __post_init__(self) -> None:
        self.data, self.folder = self.arguments.data / self.name, self.arguments.work / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.arguments.work / f"{self.name}.jsonl"
        self.lines = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        self.threads = self.arguments.threads
        self.pair = "pair" if self.name in PAIRS else None
        given = self.arguments.seconds
        self.seconds = SECONDS.get(self.name, 60) if given is None else given  # CPU time of a pre-training
        told = {
            "seconds": self.seconds,
            "dev_rows": self.arguments.dev_rows,
            "test_rows": self.arguments.test_rows,
        }
        if self.find(stage="settings", **told) is None:
            if self.lines:
                sys.exit(f"{self.file}: measured with other settings than {told}; give another --work")
            self.add(stage="settings", **told)

    def find(self, **key: Any) -> dict[str, Any] | None:
        return next((line for line in self.lines if key.items() <= line.items()), None)

    def add(self, **line: Any) -> dict[str, Any]:
        self.lines.append(line)
        with self.file.open("a") as out:
            out.write(json.dumps(line) + "\n")
        shown = {name: value for name, value in line.items() if name != "right"}
        print(self.name, " ".join(f"{name} {value}" for name, value in shown.items() if name != "set"), flush=True)
        return line

    # Labelled examples

    def rows(self, part: str) -> list[Row]:
        found = [json.loads(line) for line in (self.data / f"{part}.jsonl").read_text("utf-8").splitlines()]
        return found[: {"dev": self.arguments.dev_rows, "test": self.arguments.test_rows}.get(part)]

    @cached_property
    def train(self) -> list[Row]:
        return self.rows("train")

    @cached_property
    def held(self) -> dict[str, list[Row]]:
        return {part: self.rows(part) for part in ("dev", "test")}

    @cached_property
    def labels(self) -> list[str]:
        return sorted({row["label"] for row in self.train})

    def classes(self, rows: list[Row]) -> Any:
        return np.array([self.labels.index(row["label"]) for row in rows])

    def sample(self, size: str, seed: int) -> list[Row]:
        """The labelled examples of a size."""
        rows = list(self.train)
        random.Random(seed).shuffle(rows)
        if size == "all":
            return rows
        first = {row["label"]: number for number, row in reversed(list(enumerate(rows)))}
        chosen = sorted(first.values())
        chosen += [number for number in range(len(rows)) if number not in set(chosen)]
        return [rows[number] for number in sorted(chosen[: int(size)])]

    def written(self, name: str, rows: list[Row]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return path

    # What all rows share

    @cached_property
    def tokenizer(self) -> Path:
        made = self.folder / "tokenizer.safetensors"
        nlpkit.tokenizer_train([self.data / "corpus.txt"], made, kind="wordpiece", threads=self.threads)
        return made

    @cached_property
    def tokens(self) -> Path:
        made = self.folder / "tokens.safetensors"
        nlpkit.tokens([self.data / "corpus.txt"], made, tokenizer=self.tokenizer, threads=self.threads)
        return made

    def vectors(self, seed: int) -> Path:
        """Word vectors of the tokenizer's pieces; their CPU seconds are a line."""
        made = self.folder / f"vectors-{seed}.safetensors"
        if self.find(stage="vectors", seed=seed) is None or not made.exists():
            tokens, clock = self.tokens, Clock()
            nlpkit.vectors_train([tokens], made, seed=seed, threads=self.threads, force=True)
            self.add(stage="vectors", set=self.name, row="vectors", seed=seed, cpu=clock())
        return made
