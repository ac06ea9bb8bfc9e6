"""Every stage that writes an artefact, one after the other in one process: what test_stages runs twice.

``python chain.py FOLDER THREADS ORDER`` prints {file: sha256} of everything the stages wrote. ORDER "late" takes the
stages of a group from the last to the first, so that nothing may depend on what the process did before.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nlpkit
from nlpkit.artifact.file import file_sha256
from nlpkit.artifact.provenance import folder_sha256

Stage = Callable[[], Any]
# 4096 tokens x 128: torch shares work of more than 32,768 elements among its threads.
WIDE: dict[str, Any] = {"n_layers": 1, "d_model": 128, "batch_tokens": 4096, "max_len": 64, "steps": 3, "dropout": 0.1}
# Odd sizes: heads of 8, a width and a vocabulary that are no multiples of 16.
NARROW: dict[str, Any] = {"n_layers": 2, "d_model": 40, "n_heads": 5, "batch_tokens": 512, "max_len": 32, "steps": 4}
SHORT: dict[str, Any] = {"steps": 4, "batch_tokens": 512}


def write_corpus(folder: Path, characters: int) -> None:
    """Text of made-up words by Zipf's law, with letters outside ASCII; packed, so that tokenising uses workers."""
    rng = np.random.default_rng(1)
    letters = list("abcdefghijklmnoprstuvwyzäéñøß")
    words = np.array(["".join(rng.choice(letters, int(rng.integers(1, 9)))) for _ in range(3000)])
    rank = (rng.pareto(0.9, characters // 5) * 3).astype(np.int64) % len(words)
    sentences = [" ".join(part) + "." for part in np.array_split(words[rank], characters // 50)]
    documents = ["\n".join(sentences[at : at + 7]) for at in range(0, len(sentences), 7)]
    text = "\n\n".join(documents) + "\n"
    (folder / "corpus.txt.gz").write_bytes(gzip.compress(text.encode(), 1, mtime=0))
    (folder / "small.txt").write_text(text[:60_000], "utf-8")


def write_labelled(folder: Path) -> None:
    rng = np.random.default_rng(2)
    words = (folder / "small.txt").read_text("utf-8").split()
    for name, count in (("train", 120), ("dev", 40)):
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as target:
            for number in range(count):
                text = " ".join(str(word) for word in rng.choice(words, int(rng.integers(3, 20))))
                target.write(json.dumps({"text": text, "label": ["no", "perhaps", "yes"][number % 3]}) + "\n")


def groups(folder: Path, threads: int) -> list[list[Stage]]:
    """The stages; those of a group need nothing of each other."""

    def path(name: str) -> Path:
        return folder / f"{name}.safetensors"

    def train(name: str, corpus: str = "small.txt", **more: Any) -> Stage:
        asked = {"kind": name, "vocab_size": 403, "threads": threads, **more}
        return lambda: nlpkit.tokenizer_train([folder / corpus], path(name), **asked)

    def tokens(name: str, corpus: str, tokenizer: str, **more: Any) -> Stage:
        asked = {"tokenizer": path(tokenizer), "threads": threads, **more}
        return lambda: nlpkit.tokens([folder / corpus], path(name), **asked)

    def vectors(name: str, **more: Any) -> Stage:
        asked = {"dim": 16, "epochs": 1, "threads": threads, **more}
        return lambda: nlpkit.vectors_train([folder / "small.txt"], path(name), **asked)

    def pretrain(name: str, tokens: str = "tokens", **more: Any) -> Stage:
        if name != "wide" and not {"vectors", "init"} & more.keys():  # one run learns vectors of its own text
            more["embeddings"] = "random"
        return lambda: nlpkit.pretrain([path(tokens)], path(name), threads=threads, **more)

    def finetune(name: str, model: str, **more: Any) -> Stage:
        asked = {"dev": folder / "dev.jsonl", "eval_every": 2, "threads": threads, **SHORT, **more}
        return lambda: nlpkit.finetune(path(model), folder / "train.jsonl", path(name), **asked)

    def distill(name: str, teacher: str, data: Path, **more: Any) -> Stage:
        return lambda: nlpkit.distill(path(teacher), data, path(name), threads=threads, **SHORT, **more)

    return [
        [
            train("bpe", "corpus.txt.gz"),
            train("wordpiece"),
            train("ratio", kind="wordpiece", score="ratio"),
            train("unigram"),
            train("word"),
            train("char"),
        ],
        [
            tokens("tokens", "corpus.txt.gz", "bpe"),
            tokens("shard", "small.txt", "unigram", shard="2/3"),
            vectors("skipgram"),
            vectors("cbow", method="cbow", loss="hs"),
            vectors("nce", loss="nce", dim=19),
            vectors("subwords", subwords="3-5", buckets=1000, method="cbow"),
            vectors("best", dev=folder / "corpus.txt.gz", patience=1, epochs=3),
            vectors("pieces", tokenizer=path("unigram")),
            vectors("phrases", phrases=2, phrase_threshold=2.0),
            # In one process everything is one block of text, in the other one there are several.
            lambda: nlpkit.vectors_cooccur(
                [folder / "corpus.txt.gz"],
                path("cooc"),
                vocab_size=500,
                threads=threads,
                memory_mb=1 if threads > 1 else 100,
            ),
        ],
        [
            lambda: nlpkit.vectors_glove(path("cooc"), path("glove"), dim=20, epochs=2, threads=threads),
            lambda: nlpkit.vectors_train([path("tokens")], path("of-tokens"), dim=16, epochs=1, threads=threads),
            pretrain("wide", **WIDE),
            pretrain("nsp", objective="mlm+nsp", **NARROW, dropout=0.3, accumulate=2),
            pretrain("static", masks="static", **NARROW),
            pretrain("gpt2", model="gpt2", **NARROW),
            pretrain("wide-gpt2", model="gpt2", **WIDE),
            pretrain("pieces-gpt2", "shard", model="gpt2", **NARROW),
            pretrain("begun", "shard", vectors=path("pieces"), **{**NARROW, "d_model": 16, "n_heads": 2}),
            lambda: nlpkit.export(path("skipgram"), folder / "skipgram.txt", to="glove"),
        ],
        [
            pretrain("further", init=path("nsp"), **{**NARROW, "n_layers": None, "d_model": None, "n_heads": None}),
            finetune("clf", "wide"),
            finetune("clf-gpt2", "gpt2", pooling="mean", dropout=0.2),
            distill("student-lm", "nsp", path("tokens")),
            distill("student-gpt2", "gpt2", path("tokens")),
        ],
        [
            distill("student", "clf", folder / "train.jsonl", dev=folder / "dev.jsonl"),
            distill("student-small", "clf", folder / "train.jsonl", labels=False, size="tiny", n_layers=1),
            lambda: nlpkit.export(path("pieces-gpt2"), folder / "exported"),
            lambda: predictions(path("clf"), folder, threads),
        ],
        [
            lambda: nlpkit.import_(folder / "exported", path("imported")),
            lambda: nlpkit.import_(folder / "skipgram.txt", path("from-text")),
        ],
    ]


def predictions(model: Path, folder: Path, threads: int) -> None:
    answers = nlpkit.predict(model, folder / "dev.jsonl", threads=threads)
    (folder / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))


def main(folder: Path, threads: int, order: str) -> None:
    write_corpus(folder, 4_300_000)
    write_labelled(folder)
    with contextlib.redirect_stdout(sys.stderr):
        for group in groups(folder, threads):
            for stage in group if order == "early" else reversed(group):
                stage()
    print(
        json.dumps(
            {
                made.name: folder_sha256(made) if made.is_dir() else file_sha256(made)
                for made in sorted(folder.iterdir())
            }
        )
    )


if __name__ == "__main__":  # worker processes import this file too
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
