"""What is hashed is what is read: a file that is written, replaced or cut meanwhile fails the run by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import making
import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base import events
from nlpkit.base.errors import RunError


def grown(path: Path) -> None:
    with open(path, "a") as target:
        target.write("one line more\n")


def replaced(path: Path) -> None:
    path.with_name("new").write_text("other text\n" * 50)
    os.replace(path.with_name("new"), path)


def rewritten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[::-1])


def once(event: str, change: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    seen: list[str] = []

    def listener(record: dict[str, Any]) -> None:
        if record["event"] == event and not seen:
            seen.append(event)
            change()

    return listener


@pytest.mark.parametrize("change", [grown, replaced, rewritten])
@pytest.mark.parametrize("command", ["tokens", "tokenizer_train", "vectors_train", "vectors_cooccur"])
def test_a_corpus_that_changes_while_it_is_read(change: Callable[[Path], None], command: str, tmp_path: Path) -> None:
    corpus = making.text_file(tmp_path / "corpus.txt", lines=100, words=30)
    nlpkit.tokenizer_train([corpus], tmp_path / "tok.safetensors", kind="word", vocab_size=40)
    given: dict[str, dict[str, Any]] = {
        "tokens": {"tokenizer": tmp_path / "tok.safetensors"},
        "tokenizer_train": {"kind": "word", "vocab_size": 30},
        "vectors_train": {"dim": 4, "epochs": 1},
        "vectors_cooccur": {},
    }
    listener = once("stage", lambda: change(corpus))  # the inputs have been hashed
    with events.listen(listener), pytest.raises(RunError, match=r"corpus\.txt: has changed while it was read"):
        getattr(nlpkit, command)([corpus], tmp_path / "o.safetensors", threads=1, **given[command])
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "tok.safetensors"]


@pytest.mark.parametrize("change", ["cut", "rewritten", "replaced"])
def test_a_token_file_that_changes_while_it_is_trained_on(change: str, tmp_path: Path) -> None:
    tokens = making.token_file(tmp_path / "t.safetensors")

    def act() -> None:
        if change == "cut":
            os.truncate(tokens, 5000)
        elif change == "rewritten":
            rewritten(tokens)
        else:
            making.token_file(tokens, seed=7)

    told = "t.safetensors: was cut to 5,000 bytes" if change == "cut" else "t.safetensors: has changed while it was"
    with events.listen(once("step", act)), pytest.raises(RunError, match=told):
        nlpkit.pretrain(
            [tokens],
            tmp_path / "m.safetensors",
            n_layers=1,
            d_model=8,
            n_heads=1,
            max_len=16,
            steps=4,
            batch_tokens=64,
            log_every=1,
            threads=1,
        )
    assert not (tmp_path / "m.safetensors").exists()


def test_a_file_that_is_touched_only_is_the_same(tmp_path: Path) -> None:
    tokens = making.token_file(tmp_path / "t.safetensors")
    with events.listen(once("step", lambda: os.utime(tokens))):
        nlpkit.pretrain(
            [tokens],
            tmp_path / "m.safetensors",
            n_layers=1,
            d_model=8,
            n_heads=1,
            max_len=16,
            steps=2,
            batch_tokens=64,
            log_every=1,
            threads=1,
        )
    assert (tmp_path / "m.safetensors").exists()


def test_a_file_that_is_written_while_it_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100)
    digest = file.hashlib.file_digest

    def slow(opened: Any, name: str) -> Any:
        path.write_bytes(b"b" * 100)
        return digest(opened, name)

    monkeypatch.setattr(file.hashlib, "file_digest", slow)
    with pytest.raises(RunError, match="is being written while it is read"):
        file.file_sha256(path)
