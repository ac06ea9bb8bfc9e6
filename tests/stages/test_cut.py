"""What a largest length cuts is said, and before hours are spent: how many texts, what fraction of their tokens, and
what reads more; nothing where nothing is cut."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.base import events
from nlpkit.cli.app import run
from nlpkit.data import texts
from nlpkit.data.framing import ENCODER, framing
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.tasks.sequences import Cut, Encoder

SHAPE: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cut")
    toys.model(made / "bert.safetensors")  # 24 positions, two of them for framing
    rows = [{"text": "the king " * (5 if row % 4 else 22), "label": "xy"[row % 2]} for row in range(40)]
    (made / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    making.token_file(made / "tokens.safetensors", documents=30)
    return made


def notes(function: Any, *arguments: Any, **options: Any) -> list[str]:
    said: list[str] = []
    with events.listen(lambda record: said.append(record["text"]) if record["event"] == "note" else None):
        result = function(*arguments, **options)
        list(result if result is not None and not isinstance(result, dict) else ())
    return [text for text in said if "longer" in text]


def test_what_is_cut_is_counted_in_texts_and_tokens() -> None:
    made = toys.tokenizer()
    encoder = Encoder(made, framing(ENCODER, made), 6, 24)
    assert encoder.encode(["the king", "the king of france goes out"], None).cut == Cut(1, 2, 2, 8)
    pairs = encoder.encode(["the king of"], ["the king"])  # three framing tokens
    assert pairs.cut == Cut(1, 1, 2, 5) and len(pairs.framed[0].tokens) == 6
    assert encoder.encode(["the king"], None).cut == Cut(0, 1, 0, 2)
    assert encoder.said(Cut(1, 2, 2, 8)) == (
        "1 of 2 texts is longer than 6 tokens and was cut: 25.0% of the tokens are left out; --max-len 24 reads more"
    )
    assert encoder.said(Cut(2, 900, 2, 9000)).endswith("were cut: less than 0.1% of the tokens are left out")


def test_fine_tuning_says_before_it_trains_what_is_cut(folder: Path) -> None:
    arguments = (folder / "bert.safetensors", folder / "train.jsonl", folder / "c.safetensors")
    (said,) = notes(nlpkit.finetune, *arguments, dry_run=True)
    # 10 of 40 texts have 44 tokens, 30 have 10: 22 of 44 are cut
    assert said.startswith("train: 10 of 40 examples are longer than 24 tokens and were cut: 29.7% of the tokens")
    assert "a model that was pre-trained with a --max-len above 24 reads more" in said
    (said,) = notes(nlpkit.finetune, *arguments, dry_run=True, max_len=12)
    assert "--max-len 24 reads more" in said and "pre-trained" not in said


def test_prediction_says_what_it_cut_and_nothing_else(folder: Path) -> None:
    (folder / "short.txt").write_text("the king\n")
    (said,) = notes(nlpkit.embed, folder / "bert.safetensors", folder / "train.jsonl")
    assert said.startswith("10 of 40 texts are longer than 24 tokens")
    assert not notes(nlpkit.embed, folder / "bert.safetensors", folder / "short.txt")


@pytest.mark.parametrize(("cut", "noun"), [("blocks", "document"), ("sentences", "sentence")])
def test_pretraining_says_what_is_read_in_pieces(folder: Path, cut: str, noun: str) -> None:
    files = TokenFiles.open([folder / "tokens.safetensors"])
    ends = files.document_token_ends if noun == "document" else files.sentence_ends
    lengths = np.diff(ends, prepend=0)
    arguments = ([folder / "tokens.safetensors"], folder / "m.safetensors")
    (said,) = notes(nlpkit.pretrain, *arguments, dry_run=True, cut=cut, max_len=12, **SHAPE)
    longer = int((lengths > 10).sum())
    assert said.startswith(f"{longer} of {len(lengths)} {noun}s are longer than a sequence (--max-len 12)")
    assert "no token is left out" in said and f"--max-len 512 has {longer} of them whole" in said
    assert not notes(nlpkit.pretrain, *arguments, dry_run=True, cut=cut, max_len=512, **SHAPE)


def test_a_model_that_has_no_more_positions_is_not_told_of_them(folder: Path) -> None:
    nlpkit.pretrain([folder / "tokens.safetensors"], folder / "m.safetensors", steps=0, max_len=16, force=True, **SHAPE)
    arguments = ([folder / "tokens.safetensors"], folder / "n.safetensors")
    (said,) = notes(nlpkit.pretrain, *arguments, dry_run=True, init=folder / "m.safetensors")
    assert "(--max-len 16)" in said and "512" not in said
    (said,) = notes(nlpkit.distill, folder / "m.safetensors", *arguments, dry_run=True)
    assert "(--max-len 16)" in said and "512" not in said


def test_tokens_says_how_many_documents_are_long(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    lines = [["the king of france goes out at night"] * (number % 90 + 1) for number in range(100)]
    (folder / "corpus.txt").write_text("\n\n".join("\n".join(document) for document in lines) + "\n")
    target = folder / "long.safetensors"
    words = ["tokens", str(folder / "corpus.txt"), "--tokenizer", str(folder / "bert.safetensors"), "--force"]
    said = set()
    for batch in (texts.BATCH, 700):  # documents are divided among batches
        monkeypatch.setattr(texts, "BATCH", batch)
        assert run([*words, "-o", str(target)]) == 0
        said.add(re.findall(r"\d+ of .* longer .*", capsys.readouterr().err)[0])
    lengths = np.diff(TokenFiles.open([target]).document_token_ends, prepend=0)
    over, far = int((lengths > 128).sum()), int((lengths > 512).sum())
    assert over > far > 0
    assert said == {
        f"{over} of 100 documents are longer than 128 tokens, {far} than 512; the longest has {lengths.max()} "
        "(pretrain --max-len)"
    }
    (folder / "corpus.txt").write_text("the king\n\nof france\n")
    assert run([*words, "-o", str(target)]) == 0
    assert "longer" not in capsys.readouterr().err
