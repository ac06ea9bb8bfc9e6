"""Any number of threads gives the same bytes, in every command that has them, at sizes where torch shares the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact.file import file_sha256
from nlpkit.stages import tokens as room

THREADS = (1, 2, 3, 7)
WIDE: dict[str, Any] = {"batch_tokens": 4096, "steps": 2}  # x 128: torch shares what has more than 32,768 elements


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of width 128, texts of any length, and a corpus."""
    here = tmp_path_factory.mktemp("threads")
    toys.model(here / "bert.safetensors", n_layers=1, d_model=128, max_len=128)
    toys.model(here / "gpt2.safetensors", "gpt2", n_layers=1, d_model=128, max_len=128)
    rng = np.random.default_rng(0)
    with open(here / "rows.jsonl", "w") as target:
        for number in range(400):
            text = " ".join(toys.sentence(rng) for _ in range(int(rng.integers(1, 5))))
            target.write(json.dumps({"text": text, "label": "ab"[number % 2]}) + "\n")
    lines = [toys.sentence(rng) for _ in range(3000)]
    (here / "text.txt").write_text("\n".join(lines) + "\n")
    (here / "prompts.txt").write_text("\n".join(lines[:40]) + "\n")
    nlpkit.finetune(here / "bert.safetensors", here / "rows.jsonl", here / "clf.safetensors", threads=1, **WIDE)
    return here


def lines(rows: Any) -> str:
    return json.dumps(list(rows))


CASES: dict[str, Callable[[Path, Path, int], Any]] = {
    "finetune": lambda here, to, threads: nlpkit.finetune(
        here / "bert.safetensors",
        here / "rows.jsonl",
        to,
        threads=threads,
        dropout=0.1,
        dev=here / "rows.jsonl",
        **WIDE,
    ),
    "distill": lambda here, to, threads: nlpkit.distill(
        here / "clf.safetensors", here / "rows.jsonl", to, threads=threads, dropout=0.1, **WIDE
    ),
    "evaluate": lambda here, to, threads: nlpkit.evaluate(
        here / "clf.safetensors", here / "rows.jsonl", output=to, threads=threads, batch_tokens=4096
    ),
    "perplexity": lambda here, to, threads: nlpkit.evaluate(
        here / "gpt2.safetensors", here / "text.txt", output=to, threads=threads, batch_tokens=4096
    ),
    "predict": lambda here, to, threads: lines(
        nlpkit.predict(here / "clf.safetensors", here / "rows.jsonl", threads=threads, batch_tokens=4096)
    ),
    "embed": lambda here, to, threads: lines(
        nlpkit.embed(here / "bert.safetensors", here / "rows.jsonl", threads=threads, batch_tokens=4096)
    ),
    "int8": lambda here, to, threads: lines(
        nlpkit.predict(here / "clf.safetensors", here / "rows.jsonl", threads=threads, batch_tokens=4096, int8=True)
    ),
    "generate": lambda here, to, threads: lines(
        nlpkit.generate(here / "gpt2.safetensors", here / "prompts.txt", threads=threads, max_new_tokens=20)
    ),
    "tokenizer train": lambda here, to, threads: nlpkit.tokenizer_train(
        [here / "text.txt"], to, kind="wordpiece", vocab_size=120, threads=threads
    ),
    "cooccur": lambda here, to, threads: nlpkit.vectors_cooccur([here / "text.txt"], to, threads=threads),
    "vectors": lambda here, to, threads: nlpkit.vectors_train(
        [here / "text.txt"], to, dim=32, epochs=1, threads=threads
    ),
    "tokens": lambda here, to, threads: nlpkit.tokens(
        [here / "text.txt"], to, tokenizer=here / "bert.safetensors", threads=threads
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_threads_gives_the_same_bytes(
    given: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (("LOAD", 0), ("COMPILE", 0)):
        monkeypatch.setattr(room, name, small)
    monkeypatch.setattr("nlpkit.data.texts.BATCH", 1 << 12)
    monkeypatch.setattr("nlpkit.data.readers.BLOCK", 1 << 12)
    found = set()
    for threads in THREADS:
        target = tmp_path / str(threads) / "made.safetensors"
        target.parent.mkdir()
        said = CASES[case](given, target, threads)
        found.add(file_sha256(target) if target.exists() else said)
    assert len(found) == 1
