"""Errors for what newcomers type say what to type instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.base import missing
from nlpkit.cli import app

HUB = "nothing is downloaded: give a Hugging Face directory on this machine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("finetune bert-base-uncased train.jsonl -o c.safetensors", HUB),
        ("predict google/bert_uncased train.jsonl", HUB),
        ("finetune bret.safetensors train.jsonl -o c.safetensors", 'did you mean "bert.safetensors"?'),
        ("predict bret.safetensors train.jsonl", 'did you mean "bert.safetensors"?'),
        ("tokenizer train trian.jsonl -o t.safetensors", 'did you mean "train.jsonl"?'),
        ("predict train.jsonl bert.safetensors", "the model comes first"),
        ("tokenizer train books -o t.safetensors", "books/*"),
        ("tokenizer train report.docx -o t.safetensors", "is a Word document"),
        ("tokenizer train report.docx -o t.safetensors", "hint: save it as plain text"),
        ("export vectors.safetensors -o vec.txt", "--to word2vec, word2vec-binary or glove"),
        ("embed bert.safetensors train.jsonl -o vec.npy", "-o vec.safetensors"),
        ("tokenizer train I_love_it -o t.safetensors", "a text is no file: echo"),
    ],
)
def test_the_error_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text('{"text": "a", "label": "b"}\n')
    Path("bert.safetensors").write_bytes(b"")
    Path("books").mkdir()
    Path("books/one.txt").write_text("one\n")
    Path("report.docx").write_bytes(b"PK\x03\x04" + b"[Content_Types].xml" + b"word/document.xml")
    if "vectors.safetensors" in words:
        file.write(
            Path("vectors.safetensors"),
            {"vectors": np.zeros((1, 2), np.float32)},
            kind="vectors",
            config={"words": ["a"], "dim": 2},
            provenance={},
            history={},
            determinism={},
        )
    assert app.run([word.replace("_", " ") if "_love_" in word else word for word in words.split()]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_an_ending_alone_makes_no_name_similar(tmp_path: Path) -> None:
    (tmp_path / "bert.safetensors").touch()
    assert missing.hint(tmp_path / "x.safetensors") is None
