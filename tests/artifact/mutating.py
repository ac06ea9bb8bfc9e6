"""Artefacts with wrong content behind right digests, by seeded mutation, and the commands that read them."""

from __future__ import annotations

import copy
import json
import random
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forging
import numpy as np
import toys

import nlpkit
from nlpkit.artifact import safetensors
from nlpkit.cli import app

SECONDS = 60  # a case that takes longer hangs

# Kind -> (file, the commands that read it; X stands for the mutated file).
COMMANDS: dict[str, tuple[str, ...]] = {
    "tok": (
        "tokenizer encode X text.txt",
        "tokenizer encode X text.txt --pieces --json",
        "tokenizer decode X ids.txt",
        "tokens text.txt --tokenizer X -o O -n",
        "tokens text.txt --tokenizer X -o O --threads 1",
        "export X -o Out",
        "tokenizer compare X --text text.txt",
    ),
    "tokens": (
        "evaluate bert.safetensors X --max-len 16 --resamples 10",
        "pretrain X -o O --steps 0 --size tiny",
        "pretrain X -o O -n",
        "vectors train X -o O --dim 4 --epochs 1 --min-count 1 --threads 1",
        "evaluate gpt2.safetensors X --resamples 10",
        "pretrain X -o O --steps 1 --batch-tokens 64 --n-layers 1 "
        "--d-model 16 --n-heads 2 --d-ff 16 --max-len 16 --threads 1",
        "vectors cooccur X -o O --min-count 1",
        "distill bert.safetensors X -o O -n",
    ),
    "vec": (
        "vectors nearest X king",
        "vectors nearest X kings --json",
        "vectors analogy X the king of",
        "vectors evaluate X pairs.tsv",
        "export X -o O --to word2vec",
        "export X -o O --to glove",
        "pretrain tokens.safetensors -o O --vectors X --steps 0 --size tiny",
    ),
    "sub": ("vectors nearest X kingly --json", "vectors evaluate X pairs.tsv", "vectors map X -o O.csv"),
    "counts": ("vectors glove X -o O -n", "vectors glove X -o O --dim 4 --epochs 1 --threads 1"),
    "bert": (
        "evaluate X tokens.safetensors --resamples 10 --max-len 16",
        "embed X text.txt",
        "embed X text.txt -o O",
        "finetune X train.jsonl -o O -n",
        "pretrain tokens.safetensors --init X -o O --steps 0",
        "export X -o Out",
        "finetune X train.jsonl -o O --steps 1 --batch-tokens 64 --threads 1",
    ),
    "clf": (
        "predict X train.jsonl",
        "evaluate X train.jsonl --resamples 10",
        "export X -o Out",
        "embed X text.txt",
        "distill X train.jsonl -o O -n",
        "predict X train.jsonl --int8",
    ),
    "gpt2": (
        "generate X --max-new-tokens 8",
        "generate X --prompt 'the king' --n 2 --json --max-new-tokens 4",
        "evaluate X text.txt --resamples 10",
        "embed X text.txt --pooling last",
        "export X -o Out",
    ),
    "emb": (),
    "resume": (
        "finetune bert.safetensors train.jsonl -o x.safetensors --steps 2 --batch-tokens 64 --save-every 1 --threads 1",
        "report X -o O.html",
    ),
}
ALL = (
    "info X",
    "info X --check --json",
    "lineage X",
    "diff X good-X",
    "diff good-X X --json",
    "verify X",
    "verify X --chain",
    "report X -o O.html",
)


def prepare(folder: Path) -> None:
    """An honest file of each kind, small, and what the commands read beside them."""
    line = "the king of france goes out at night with his sword and horse\n"
    (folder / "text.txt").write_text((line * 4 + "\n") * 4)
    (folder / "ids.txt").write_text("0 1 2 3 7\n5 6\n")
    (folder / "pairs.tsv").write_text("the\tking\t3.5\nking\tnight\t1\nof\tout\t2\nhis\thorse\t9\n")
    toys.texts(folder / "train.jsonl", 12)
    for name in ("bert", "gpt2"):
        toys.model(folder / f"{name}.safetensors", name, n_layers=1, d_model=16)
    text = [folder / "text.txt"]
    nlpkit.tokenizer_train(text, folder / "tok.safetensors", kind="bpe", vocab_size=300)
    for kind in ("wordpiece", "unigram", "char", "word"):
        nlpkit.tokenizer_train(text, folder / f"tok-{kind}.safetensors", kind=kind, vocab_size=60)
    nlpkit.tokens(text, folder / "tokens.safetensors", tokenizer=folder / "bert.safetensors", threads=1)
    small: dict[str, Any] = {"dim": 4, "epochs": 1, "min_count": 1, "threads": 1}
    nlpkit.vectors_train(text, folder / "vec.safetensors", **small)
    nlpkit.vectors_train(text, folder / "sub.safetensors", subwords="3-4", buckets=50, **small)
    nlpkit.vectors_cooccur(text, folder / "counts.safetensors", min_count=1)
    tiny: dict[str, Any] = {"batch_tokens": 64, "threads": 1}
    nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", folder / "clf.safetensors", steps=1, **tiny)
    nlpkit.embed(folder / "bert.safetensors", folder / "text.txt", output=folder / "emb.safetensors")
    for name in ("bert", "clf"):
        nlpkit.export(folder / f"{name}.safetensors", folder / f"hf-{name}")


def names(folder: Path) -> list[str]:
    """The honest files, without their endings."""
    return sorted(path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors"))


def commands(name: str) -> tuple[str, ...]:
    return (*COMMANDS.get(name, COMMANDS["tok"] if name.startswith("tok-") else ()), *ALL)


ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**40, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e308, 1e-320, "", "x"),
    *("the", "[UNK]", "bert", "word", "\x1b[2J", "../x", "9" * 40, "3-4", "0-9", "80/10/10", "x" * 5000, {}, {"a": 1}),
    *([], [[]], [None], ["a", "a"], [1, 2], [0.5], [["a", "b"]], [["a"]]),
]


def mutated(metadata: dict[str, Any], tensors: forging.Tensors, rng: random.Random) -> str:
    """Change one to three things in place; returns what, in words."""
    said = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if tensors and rng.random() < 0.35:
            said.append(_tensor(tensors, rng))
        else:
            said.append(_value(metadata, rng))
    return "; ".join(said)


def _value(metadata: dict[str, Any], rng: random.Random) -> str:
    """Walk down to some place of the metadata and put something else there."""
    fields = ["config", "config", "config", "tokenizer", "tokenizer", "provenance", "history", "determinism", "kind"]
    field = rng.choice([name for name in fields if metadata[name]])
    above: Any = metadata
    key: Any = field
    path = field
    while isinstance(above[key], (dict, list)) and above[key] and (above is metadata or rng.random() < 0.8):
        above = above[key]
        key = rng.choice(list(above)) if isinstance(above, dict) else rng.randrange(len(above))
        path += f".{str(key)[:30]}"
    kind = rng.random()
    if kind < 0.12 and above is not metadata:
        del above[key]
        return f"del {path}"
    if kind < 0.2 and isinstance(above, dict) and above is not metadata:
        above[rng.choice(("x", "kind", "output", "log", "task", "words", "training", "bias"))] = rng.choice(ODD)
        return f"add to {path}"
    if kind < 0.3 and isinstance(above, list):
        above.insert(rng.randrange(len(above) + 1), copy.deepcopy(rng.choice([*ODD, *above])))
        return f"insert at {path}"
    old = above[key]
    if isinstance(old, (int, float)) and not isinstance(old, bool) and rng.random() < 0.4:
        new: Any = rng.choice((old + 1, old - 1, -old, old * 2, old * 1000))
    else:
        new = copy.deepcopy(rng.choice(ODD))
    above[key] = new
    return f"{path} = {str(new)[:40]!r}"


DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<u2", "<u4", "i1", "u1", "?")


def _tensor(tensors: forging.Tensors, rng: random.Random) -> str:
    """Another value, type, shape or name; one tensor more or less."""
    name = rng.choice(sorted(tensors))
    array = tensors[name]
    kind = rng.random()
    if kind < 0.1:
        del tensors[name]
        return f"del tensor {name}"
    if kind < 0.2:
        tensors[rng.choice(("x", "words", "tokens", f"{name}x", "starts"))] = array.copy()
        return f"double tensor {name}"
    if kind < 0.4:
        dtype = rng.choice(DTYPES)
        with np.errstate(all="ignore"):
            tensors[name] = array.astype(dtype)
        return f"tensor {name} as {dtype}"
    if kind < 0.6:
        flat = array.reshape(-1)
        fewer = array[:-1] if array.ndim else array
        others = [flat, flat[:0], flat[: flat.size // 2], np.concatenate([flat, flat[:1]]), array[None], fewer]
        tensors[name] = rng.choice(others).copy()
        return f"tensor {name} of shape {tensors[name].shape}"
    made = array.copy()
    if made.size:
        extremes = [0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), made.size, made.size + 1]
        value: Any = rng.choice(extremes if made.dtype.kind in "iu" else [*extremes, np.nan, np.inf, 1e38, -1e-40])
        where = rng.choice([0, made.size - 1, rng.randrange(made.size)])
        with np.errstate(all="ignore"):
            wide = np.array(value if made.dtype.kind == "f" else value & ((1 << 64) - 1))
            made.reshape(-1)[where] = wide.astype(np.float64 if made.dtype.kind == "f" else np.uint64).astype(
                made.dtype
            )
        if rng.random() < 0.2:
            made = made[::-1].copy()
    tensors[name] = made
    return f"tensor {name} other values"


@contextmanager
def limited() -> Iterator[None]:
    """What takes too long is a failure."""

    def late(number: int, frame: object) -> None:
        raise AssertionError("took too long")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(line: str, name: str) -> int:
    """One command in the current folder, about bad.safetensors, the mutated copy of ``name``; outputs are removed."""
    words = [
        {"X": "bad.safetensors", "D": "bad-hf", "good-X": f"{name}.safetensors"}.get(word, word)
        for word in shlex.split(line)
    ]
    try:
        with limited():
            return app.run(words)
    finally:
        for path in Path(".").glob("O*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


HF = (
    "import D -o O",
    "predict D train.jsonl",
    "embed D text.txt",
    "evaluate D tokens.safetensors --resamples 10",
    "evaluate D train.jsonl --resamples 10",
    "finetune D train.jsonl -o O -n",
    "export D -o Out",
)


def directory(name: str, rng: random.Random) -> str:
    """The folder bad-hf, a mutated copy of a Hugging Face directory; returns what was changed."""
    folder = Path("bad-hf")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(name, folder)
    which = rng.choice(("config.json", "config.json", "nlpkit.json", "model.safetensors"))
    if which != "model.safetensors":
        broken_json(folder / which, rng)
        return which
    reader = safetensors.read(folder / which)
    tensors = {key: np.array(reader.array(key)) for key in reader.tensors}
    said = _tensor(tensors, rng)
    with open(folder / which, "wb") as target:
        safetensors.write(target, tensors, {"format": "pt"})
    return said


def json_mutated(value: Any, rng: random.Random) -> Any:
    """A JSON file's content with one thing changed."""
    holder = {"config": copy.deepcopy(value)}
    metadata = {**holder, "tokenizer": None, "provenance": {}, "history": {}, "determinism": {}, "kind": ""}
    for _ in range(rng.choice((1, 1, 2))):
        _value(metadata, rng)
    return metadata["config"]


def broken_json(path: Path, rng: random.Random) -> None:
    """Change a JSON file in place."""
    path.write_text(json.dumps(json_mutated(json.loads(path.read_text()), rng)))
