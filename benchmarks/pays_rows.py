"""The rows of benchmarks/pays.py: how each guesses the test examples of a cell, and how long it learns."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pays_work import Clock, Row, Work

import nlpkit
from nlpkit.base import events
from nlpkit.evaluation import baselines

OURS = {"scratch": 0, "begun": 0, "random": 1, "plain": 1, "fast": 1, "small": 1}  # row -> whether it is pre-trained
TRIAL = 30  # updates from which the pace of a pre-training is known
GRID = (3e-4, 5e-4, 2e-3)  # learning rates beside the default's, which is 1e-3 at this size
CS = (0.01, 0.1, 1.0, 10.0, 100.0)


class Bench(Work):
    """A set with all rows."""

    # nlpkit's networks

    def start(self, row: str, seed: int) -> Path:
        """The model that is fine-tuned; CPU seconds and updates of its pre-training are a line."""
        made = self.folder / f"{row}-{seed}.safetensors"
        if self.find(stage="pretrain", row=row, seed=seed) is None or not made.exists():
            steps = self.steps(row) if OURS[row] else 0
            seconds, taken = self.pretrain(row, seed, made, steps)
            self.add(stage="pretrain", set=self.name, row=row, seed=seed, cpu=seconds, steps=taken)
        return made

    def pretrain(self, row: str, seed: int, made: Path, steps: int | None) -> tuple[float, int]:
        """CPU seconds and updates."""
        ways: dict[str, dict[str, Any]] = {
            "scratch": {"embeddings": "random"},
            "random": {"embeddings": "random"},
            "fast": {"recipe": "fast"},
            "small": {"n_layers": 1},
        }
        options = {"vectors": self.vectors(seed)} if row == "begun" else ways.get(row, {})
        tokens, clock = self.tokens, Clock()
        told = {"seed": seed, "steps": steps, "threads": self.threads, "log_every": 10**6}
        found = nlpkit.pretrain([tokens], made, **told, **options, force=True, fresh=True)
        return clock(), found["steps"]

    def steps(self, row: str) -> int | None:
        """Updates that take --seconds, None: as many as the defaults make; the same for all seeds."""
        if not self.seconds:
            return None
        known = self.find(stage="pace", row=row)
        if known is None:
            began: list[float] = []

            def listener(record: dict[str, Any]) -> None:
                if record["event"] == "pace" and record["step"] in (5, TRIAL):  # kernels are compiled by then
                    began.append(time.process_time())

            made = self.folder / "trial.safetensors"
            with events.listen(listener):
                seconds, _ = self.pretrain(row, 0, made, TRIAL)
            pace = (began[-1] - began[0]) / (TRIAL - 5)
            rest = max(0.0, seconds - pace * TRIAL)
            made.unlink()
            most = self.most(row)
            chosen = min(most, max(TRIAL, round((self.seconds - rest) / pace)))
            known = self.add(
                stage="pace", set=self.name, row=row, cpu=seconds, pace=round(pace, 4), steps=chosen, most=most
            )
        steps: int = known["steps"]
        return steps

    def most(self, row: str) -> int:
        """Updates that the defaults make."""
        recipe = "fast" if row == "fast" else None
        planned = nlpkit.pretrain(
            [self.tokens], self.folder / "planned.safetensors", recipe=recipe, threads=self.threads, dry_run=True
        )
        return int(planned["options"]["steps"])

    def network(self, row: str, size: str, seed: int) -> dict[str, Any]:
        return self.learnt(nlpkit.finetune, self.start(row, seed), size, seed, "classifier")

    def grid(self, size: str, seed: int) -> dict[str, Any]:
        """`plain` at the learning rate that is best on dev, of the default one and others; ``tried``: rate ->
        accuracies on dev and test."""
        tried = {"default": self.cell("plain", size, seed)}
        for rate in GRID:
            found = self.learnt(nlpkit.finetune, self.start("plain", seed), size, seed, "tried", lr=rate)
            tried[f"{rate:g}"] = {**found, **self.judged(found.pop("guesses"))}
        best = max(tried.values(), key=lambda one: one["dev"])
        kept = {name: best[name] for name in ("cpu", "dev", "steps", "accuracy", "right")}
        return {**kept, "tried": {rate: [one["dev"], one["accuracy"]] for rate, one in tried.items()}}

    def student(self, size: str, seed: int) -> dict[str, Any]:
        """One layer, from the classifier of the row plain."""
        self.network("plain", size, seed)
        return self.learnt(nlpkit.distill, self.folder / "classifier.safetensors", size, seed, "student")

    def learnt(
        self, command: Callable[..., Any], start: Path, size: str, seed: int, name: str, **options: Any
    ) -> dict[str, Any]:
        """What `finetune` or `distill` makes of a model and the labelled examples of a cell."""
        train = self.written("train", self.sample(size, seed))
        dev, test = (self.written(part, self.held[part]) for part in ("dev", "test"))
        made, clock = self.folder / f"{name}.safetensors", Clock()
        pair = {} if command is nlpkit.distill else {"pair": self.pair}  # a teacher knows its columns
        told = {"seed": seed, "threads": self.threads, "log_every": 10**6, **pair, **options}
        found = command(start, train, made, dev=dev, **told, force=True, fresh=True)
        seconds = clock()
        records = nlpkit.predict(made, test, threads=self.threads)
        guesses = np.array([self.labels.index(record["label"]) for record in records])
        return {"guesses": guesses, "cpu": seconds, "dev": found["score"], "steps": found["steps"]}

    # The other rows

    def majority(self, size: str, seed: int) -> dict[str, Any]:
        return {"guesses": baselines.majority(self.classes(self.sample(size, seed)), len(self.held["test"])), "cpu": 0}

    def bag(self, size: str, seed: int) -> dict[str, Any]:
        rows, clock = self.sample(size, seed), Clock()
        texts, test = ([" ".join(texts_of(row)) for row in part] for part in (rows, self.held["test"]))
        return {"guesses": baselines.bag_of_words(texts, self.classes(rows), test), "cpu": clock()}

    def averaged(self, size: str, seed: int) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows, mean = self.sample(size, seed), self.averager(seed)
        clock = Clock()
        train, dev, test = (self.features(mean, part) for part in (rows, self.held["dev"], self.held["test"]))
        classes, best = self.classes(rows), (-1.0, None)
        for c in CS:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(train, classes)
            value = float((model.predict(dev) == self.classes(self.held["dev"])).mean())
            best = (value, model) if value > best[0] else best
        return {"guesses": best[1].predict(test), "cpu": clock(), "dev": best[0]}  # type: ignore[attr-defined]

    def averager(self, seed: int) -> Callable[[list[str]], Any]:
        """A function from texts to their mean vectors [n, D]."""
        from nlpkit import tokenizers
        from nlpkit.training.adapt.vectors import matches
        from nlpkit.vectors.file import load

        tokenizer, vectors = tokenizers.load(self.tokenizer), load(self.vectors(seed))
        pieces, rows = matches(tokenizer, vectors)
        matrix = np.zeros((tokenizer.vocab_size, vectors.vectors.shape[1]))
        matrix[pieces] = vectors.vectors[rows]
        known = np.zeros(tokenizer.vocab_size)
        known[pieces] = 1
        return lambda texts: np.stack(
            [matrix[ids].sum(0) / max(1.0, known[ids].sum()) for ids in tokenizer.encode_batch(texts)]
        )

    def features(self, mean: Callable[[list[str]], Any], rows: list[Row]) -> Any:
        first = mean([row["text"] for row in rows])
        if self.pair is None:
            return first
        second = mean([row["pair"] for row in rows])
        return np.concatenate([first, second, np.abs(first - second), first * second], 1)

    def peer(self, size: str, seed: int) -> dict[str, Any]:
        import pays_peer
        import torch

        plain = self.cell("plain", size, seed)
        torch.set_num_threads(self.threads)
        peer, pretrained = self._peer, self.peer_start(seed)
        rows = self.sample(size, seed)
        encoded = [(peer.encode(columns(part)), self.classes(part)) for part in (rows, *self.held.values())]
        train, dev, test = encoded
        first = self.find(stage="cell", row="peer", size=size, seed=self.arguments.first_seed)
        rates = pays_peer.RATES if first is None else (first["rate"],)
        tried, clock = {}, Clock()
        for rate in rates:
            tried[rate] = peer.finetune(pretrained, train, dev, seconds=plain["cpu"], rate=rate, seed=seed)
        rate = max(tried, key=lambda one: tried[one][1])
        seconds = clock() / len(rates)  # with the measurements on dev
        by_rate = {f"{one:g}": round(value, 4) for one, (_, value) in tried.items()}
        return {
            "guesses": pays_peer.predict(tried[rate][0], test[0]),
            "cpu": round(seconds, 2),
            "dev": tried[rate][1],
            "rate": rate,
            "rates": by_rate,
        }

    @cached_property
    def _peer(self) -> Any:
        import pays_peer

        folder = self.folder / "exported"
        nlpkit.export(self.start("scratch", self.arguments.first_seed), folder, force=True)
        return pays_peer.Peer(folder)

    @cached_property
    def blocks(self) -> Any:
        kept = self.folder / "blocks.npy"
        if not kept.exists():
            np.save(kept, self._peer.blocks(self.data / "corpus.txt"))
        return np.load(kept)

    def peer_start(self, seed: int) -> Path:
        made = self.folder / f"peer-{seed}"
        if self.find(stage="pretrain", row="peer", seed=seed) is None or not made.exists():
            self.start("plain", seed)
            seconds = (self.find(stage="pretrain", row="plain", seed=seed) or {})["cpu"]
            blocks, clock = self.blocks, Clock()
            found = self._peer.pretrain(blocks, made, seconds=seconds, seed=seed)
            self.add(stage="pretrain", set=self.name, row="peer", seed=seed, cpu=clock(), **found)
        return made

    def cell(self, row: str, size: str, seed: int) -> dict[str, Any]:
        """The line of a cell, which is measured where it is missing."""
        key = {"stage": "cell", "set": self.name, "size": size, "row": row, "seed": seed}
        if known := self.find(**key):
            return known
        began = time.perf_counter()
        other = getattr(self, row, None)
        found = self.network(row, size, seed) if other is None else other(size, seed)
        if "guesses" in found:
            found |= self.judged(found.pop("guesses"))
        return self.add(**key, **found, wall=round(time.perf_counter() - began, 1))

    def judged(self, guesses: Any) -> dict[str, Any]:
        """The accuracy of guesses on test, and which of them are right."""
        right = guesses == self.classes(self.held["test"])
        return {"accuracy": round(float(right.mean()), 4), "right": "".join(map(str, right.astype(int)))}


def texts_of(row: Row) -> list[str]:
    return [row[name] for name in ("text", "pair") if name in row]


def columns(rows: list[Row]) -> tuple[list[str], list[str] | None]:
    return [row["text"] for row in rows], [row["pair"] for row in rows] if "pair" in rows[0] else None
