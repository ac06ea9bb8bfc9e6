"""Short runs of every stage that trains by torch, in portable mode, and the sha256 of what they learnt. Those of word
vectors are the same in any mode, and written in tests/vectors.

``python tests/bytes/portable_runs.py`` prints what is kept in tests/golden/portable.json; with ``--write`` it keeps it.
To do so after a change that alters bytes on purpose is right; to do so because a machine gave others is not.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "portable.json"
WORDS = [
    "the",
    "king",
    "of",
    "france",
    "goes",
    "out",
    "at",
    "night",
    "with",
    "his",
    "sword",
    "and",
    "horse",
    "to",
    "see",
    "a",
    "queen",
    "who",
    "reads",
    "no",
    "book",
    "by",
    "day",
]
# No value is left to the rules of nlpkit/stages/defaults.py, so that a better rule changes nothing here.
COMMON: dict[str, Any] = {"batch_tokens": 512, "steps": 5, "lr": 5e-4, "dropout": 0.1, "threads": 1}
SMALL: dict[str, Any] = {**COMMON, "n_layers": 2, "d_model": 64, "max_len": 48}
LABELLED: dict[str, Any] = {**COMMON, "max_len": 32}


def versions() -> dict[str, str]:
    """Of everything that computes."""
    return {name: metadata.version(name) for name in ("torch", "numpy", "numba", "llvmlite", "scipy")}


def write_texts(folder: Path) -> None:
    """From draws that are whole numbers, which no processor changes."""
    from nlpkit.base.seeds import Address

    draws = iter(Address(0, ("portable",)).generator().integers(len(WORDS), size=60_000).tolist())
    lines = [" ".join(WORDS[min(next(draws), next(draws))] for _ in range(4 + next(draws) % 9)) for _ in range(2000)]
    (folder / "corpus.txt").write_text("\n".join(lines) + "\n", "utf-8")
    rows = [json.dumps({"text": line, "label": ["no", "yes"]["queen" in line]}) for line in lines[:200]]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", "utf-8")


def run(folder: Path) -> dict[str, str]:
    """Stage -> sha256 of the names and hashes of its tensors."""
    import nlpkit
    from nlpkit.artifact import file

    write_texts(folder)
    corpus, rows = folder / "corpus.txt", folder / "rows.jsonl"
    found = {}

    def path(name: str) -> Path:
        return folder / f"{name}.safetensors"

    def note(name: str) -> None:
        made = file.read(path(name))
        what = json.dumps([made.metadata["tensors"], made.tokenizer], sort_keys=True)
        found[name] = hashlib.sha256(what.encode()).hexdigest()[:32]

    for kind in ("unigram", "wordpiece"):
        nlpkit.tokenizer_train([corpus], path(kind), kind=kind, vocab_size=80, threads=1)
    nlpkit.tokens([corpus], path("tokens"), tokenizer=path("wordpiece"), threads=1)
    nlpkit.pretrain([path("tokens")], path("bert"), model="bert", embeddings="word2vec", **SMALL)
    nlpkit.pretrain([path("tokens")], path("gpt2"), model="gpt2", embeddings="random", **SMALL)
    nlpkit.finetune(
        path("bert"), rows, path("finetuned"), task="classify", **{**LABELLED, "lr": 2e-4, "pooling": "pooler"}
    )
    nlpkit.distill(path("finetuned"), rows, path("distilled"), n_layers=1, **LABELLED)
    for name in ("unigram", "wordpiece", "bert", "gpt2", "finetuned", "distilled"):
        note(name)
    return found


def main() -> None:
    from nlpkit.machine import portable

    portable.ask()
    with tempfile.TemporaryDirectory() as folder:
        found = {"versions": versions(), "runs": run(Path(folder))}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    print(text, end="")
    if "--write" in sys.argv:
        GOLDEN.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
