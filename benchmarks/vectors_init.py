"""Does a transformer that begins with word vectors learn faster than one that begins with random numbers?

    python benchmarks/vectors_init.py [--seeds 3] [--steps 300] [--models bert,gpt2] [--ways random,vectors,scaled]

The demonstration's plays, the last twentieth held out. Vectors of the tokenizer's pieces are learnt from the rest by
`vectors train` (skip-gram), then each model (2 layers of 64) is pre-trained on the same rest, for each seed in three
ways: without `pretrain --vectors`, with it, and with the same vectors scaled to the spread of random embeddings (0.02).
Prints the held-out loss after each sixth of the updates, and the differences to the first way: mean and range over the
seeds. With the time of the vectors, which is not free. About 2 minutes a seed and model on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import nlpkit
from nlpkit.artifact import file
from nlpkit.base import events

WIDTH = 64
RANDOM = 0.02  # standard deviation of random embeddings in BERT and GPT-2
SHAPE: dict[str, Any] = {"n_layers": 2, "d_model": WIDTH, "n_heads": 2, "max_len": 64, "batch_tokens": 2048, "lr": 2e-3}


def prepared(folder: Path, threads: int | None) -> float:
    """Tokenizer, token files and vectors; returns the seconds that the vectors took."""
    nlpkit.demo(folder / "demo", data_only=True)
    lines = (folder / "demo" / "corpus.txt").read_text("utf-8").splitlines()
    cut = len(lines) * 19 // 20
    (folder / "train.txt").write_text("\n".join(lines[:cut]) + "\n", "utf-8")
    (folder / "dev.txt").write_text("\n".join(lines[cut:]) + "\n", "utf-8")
    tokenizer = folder / "tokenizer.safetensors"
    nlpkit.tokenizer_train([folder / "train.txt"], tokenizer, kind="wordpiece", vocab_size=4000, threads=threads)
    for name in ("train", "dev"):
        nlpkit.tokens([folder / f"{name}.txt"], folder / f"{name}.safetensors", tokenizer=tokenizer, threads=threads)
    begun = time.perf_counter()
    nlpkit.vectors_train(
        [folder / "train.txt"],
        folder / "vectors.safetensors",
        tokenizer=tokenizer,
        dim=WIDTH,
        min_count=2,
        threads=threads,
    )
    taken = time.perf_counter() - begun
    whole = file.read(folder / "vectors.safetensors", kind="vectors")
    values = whole.array("vectors")
    said = {name: whole.metadata[name] for name in ("tokenizer", "provenance", "history", "determinism")}
    file.write(
        folder / "scaled.safetensors",
        {"vectors": values * np.float32(RANDOM / values.std())},
        kind="vectors",
        config=whole.config,
        **said,
    )
    return taken


def curve(folder: Path, model: str, seed: int, steps: int, vectors: Path | None, threads: int | None) -> list[float]:
    """The held-out loss after each sixth of the updates."""
    found: list[float] = []

    def hear(record: dict[str, Any]) -> None:
        if record["event"] == "evaluation":
            found.extend(value for name, value in record["metrics"].items() if name.endswith("_loss"))

    given: dict[str, Any] = {"dev": folder / "dev.safetensors", "eval_every": max(1, steps // 6), **SHAPE}
    with events.listen(hear):
        nlpkit.pretrain(
            [folder / "train.safetensors"],
            folder / "model.safetensors",
            model=model,
            vectors=vectors,
            steps=steps,
            seed=seed,
            threads=threads,
            force=True,
            fresh=True,
            **given,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--steps", type=int, default=300, help="updates of each pre-training")
    parser.add_argument("--models", default="bert,gpt2", help="families, with commas between")
    parser.add_argument("--ways", default="random,vectors,scaled", help="how embeddings begin, with commas between")
    parser.add_argument("--threads", type=int, help="of every stage (default: all cores)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"vectors of {WIDTH}: {prepared(folder, asked.threads):.0f} s")
        for model in asked.models.split(","):
            curves: dict[str, list[list[float]]] = {way: [] for way in asked.ways.split(",")}
            for seed in range(asked.seeds):
                for way in curves:
                    vectors = None if way == "random" else folder / f"{way}.safetensors"
                    begun = time.perf_counter()
                    curves[way].append(curve(folder, model, seed, asked.steps, vectors, asked.threads))
                    taken = time.perf_counter() - begun
                    shown = " ".join(f"{value:.3f}" for value in curves[way][-1])
                    print(f"{model} seed {seed} {way:<8} {shown}  ({taken:.0f} s)", flush=True)
            first, *others = curves
            for way in others:
                differences = np.array(curves[way]) - np.array(curves[first])
                for number, values in enumerate(differences.T, 1):
                    spread = f"{values.mean():+.3f} [{values.min():+.3f} .. {values.max():+.3f}]"
                    print(f"{model} after {number * max(1, asked.steps // 6)} updates, {way} - {first}: {spread}")


if __name__ == "__main__":
    main()
