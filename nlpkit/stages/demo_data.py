"""The demonstration's text: Shakespeare's plays as speeches, cut into files by scene.

The text is in the public domain. The task is to tell comedies, histories and tragedies from ONE speech, of which only
a few are labelled, as if somebody had read these: much text and few labels is what pre-training is for. All speeches
of a scene are in the same part, so that no scene is in both training and test data. Plays are not held out: see
docs/results.md for what that would change.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic

GENRES = ("comedy", "history", "tragedy")
# The other genres (problem plays, romances, Roman plays) have no label here; their text is still read.
LABELLED = 16  # one of so many speeches of the training scenes has a label


def speeches() -> list[dict[str, Any]]:
    """Every speech: play, genre, act, scene, speaker, text (with line breaks)."""
    packed = files("nlpkit").joinpath("demo/shakespeare.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).decode("utf-8").splitlines()]


def part(speech: dict[str, Any]) -> str:
    """train, dev or test (8 : 1 : 1), a function of the scene's name."""
    scene = f"{speech['play']}/{speech['act']}/{speech['scene']}"
    fraction = hashlib.blake2b(scene.encode(), digest_size=2).digest()[0] / 256
    return "test" if fraction < 0.1 else "dev" if fraction < 0.2 else "train"


def divided() -> tuple[list[str], dict[str, list[dict[str, str]]]]:
    """The scenes to learn from, a speech a line; and all rows of train, dev and test, each with text and label."""
    rows: dict[str, list[dict[str, str]]] = {"train": [], "dev": [], "test": []}
    scenes: dict[tuple[str, str, str], list[str]] = {}
    for speech in speeches():
        text = " ".join(speech["text"].split())
        where = part(speech)
        if where == "train":
            scenes.setdefault((speech["play"], str(speech["act"]), str(speech["scene"])), []).append(text)
        if speech["genre"] in GENRES:
            rows[where].append({"text": text, "label": speech["genre"]})
    return ["\n".join(lines) for lines in scenes.values()], rows


def write(folder: Path) -> dict[str, int]:
    """Write corpus.txt (a scene a document; train scenes only), train.jsonl, which has one of `LABELLED` training
    speeches, and test.jsonl, which has those of dev too, because nothing is chosen by them; returns their rows.

    Existing files with the same bytes are left alone, so that Make sees nothing new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes, rows = divided()
    parts = {"train": rows["train"][::LABELLED], "test": rows["dev"] + rows["test"]}
    _write(folder / "corpus.txt", (scene + "\n\n" for scene in scenes))
    for name, items in parts.items():
        _write(folder / f"{name}.jsonl", (json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    return {name: len(items) for name, items in parts.items()} | {"scenes": len(scenes)}


def _write(path: Path, pieces: Iterable[str]) -> None:
    data = "".join(pieces).encode()
    if not path.exists() or path.read_bytes() != data:
        with atomic.writing(path) as file:
            file.write(data)
