"""Prediction: an answer for each text, in order, as the texts come, and the same whatever shares their batch."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.machine.threads import use_threads

LEARN: dict[str, Any] = {"lr": 5e-3, "batch_tokens": 256, "threads": 1, "dropout": 0.0}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("predict")
    toys.model(made / "bert.safetensors")
    toys.model(made / "gpt2.safetensors", "gpt2")
    toys.texts(made / "train.jsonl", 300)
    toys.texts(made / "test.jsonl", 60, seed=1)
    toys.pairs(made / "pairs.tsv", 40)
    for name in ("bert", "gpt2"):
        nlpkit.finetune(
            made / f"{name}.safetensors", made / "train.jsonl", made / f"clf-{name}.safetensors", steps=100, **LEARN
        )
    nlpkit.finetune(
        made / "bert.safetensors",
        made / "pairs.tsv",
        made / "pair.safetensors",
        text="a",
        pair="b",
        label="both",
        steps=5,
        **LEARN,
    )
    return made


def predicted(model: Path, data: Path, **options: Any) -> list[dict[str, Any]]:
    return list(nlpkit.predict(model, data, **options))


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_each_text_is_answered_in_order_with_its_id(folder: Path, name: str) -> None:
    rows = toys.lines(folder / "test.jsonl")
    found = predicted(folder / f"clf-{name}.safetensors", folder / "test.jsonl")
    assert [record["id"] for record in found] == [row["id"] for row in rows]
    for record in found:
        assert set(record["probabilities"]) == set(toys.KEYS)
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=3e-6)
        assert record["label"] == max(record["probabilities"], key=record["probabilities"].get)
    right = [record["label"] == row["label"] for record, row in zip(found, rows, strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_no_answer_depends_on_its_neighbours(folder: Path, tmp_path: Path, name: str) -> None:
    """Bit by bit: any size of batch, any number of threads, alone, and in another order."""
    from nlpkit.exchange.opening import load
    from nlpkit.tasks.reading import reader
    from nlpkit.tasks.scoring import score

    loaded = load(folder / f"clf-{name}.safetensors")
    task, encoder = reader(loaded, {})
    texts = [row["text"] for row in toys.lines(folder / "test.jsonl")]
    sequences = encoder.encode(texts, None)
    with use_threads(1):
        whole = score(loaded.model, task, sequences)
    for threads in (1, 2, 3):
        with use_threads(threads):
            for size in (1, 57):
                assert np.array_equal(score(loaded.model, task, sequences, batch_tokens=size), whole)
            for number in (0, 1, 7):
                alone = score(loaded.model, task, encoder.encode(texts[number : number + 1], None))
                assert np.array_equal(alone[0], whole[number])
            order = np.random.default_rng(threads).permutation(len(texts))
            turned = score(loaded.model, task, encoder.encode([texts[number] for number in order], None))
            assert np.array_equal(turned, whole[order])


def test_the_same_records_through_every_format(folder: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    rows = toys.lines(folder / "test.jsonl")[:20]
    texts = [row["text"] for row in rows]
    files = {
        "a.jsonl": "".join(json.dumps({"id": row["id"], "text": row["text"]}) + "\n" for row in rows),
        "a.csv": "id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows),
        "a.tsv": "id\ttext\n" + "".join(f"{row['id']}\t{row['text']}\n" for row in rows),
        "a.txt": "".join(f"{text}\n" for text in texts),
    }
    model = folder / "clf-bert.safetensors"
    wanted = [
        {name: record[name] for name in ("label", "probabilities")}
        for record in predicted(model, folder / "test.jsonl")[:20]
    ]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert run(["predict", str(model), str(tmp_path / name)]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [{key: record[key] for key in ("label", "probabilities")} for record in found] == wanted, name
        assert [str(record["id"]) for record in found if "id" in record] == (
            [] if name == "a.txt" else [str(row["id"]) for row in rows]
        )
    for content in (files["a.txt"], files["a.jsonl"]):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
        assert run(["predict", str(model)]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [{key: record[key] for key in ("label", "probabilities")} for record in found] == wanted


def test_a_slow_pipe_gets_each_answer_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second text is written only when the first was answered: waiting for more would hang here."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
        answers = nlpkit.predict(folder / "clf-bert.safetensors")
        found: list[dict[str, Any]] = []
        for key in toys.KEYS.values():
            sink.write(f"the king {key}\n".encode())
            found.append(within(60, answers))
        sink.close()
        assert list(answers) == []
    assert [record["label"] for record in found] == list(toys.KEYS)


def within(seconds: float, answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The next answer. A test that waits for ever says nothing."""
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: found.append(next(answers)), daemon=True)
    asking.start()
    asking.join(seconds)
    assert found, "no answer came"
    return found[0]


def test_pairs_are_read_from_both_columns(folder: Path, tmp_path: Path) -> None:
    model = folder / "pair.safetensors"
    found = predicted(model, folder / "pairs.tsv")
    assert len(found) == 40 and set(found[0]["probabilities"]) == {"yes", "no"}
    renamed = tmp_path / "p.jsonl"
    rows = [
        dict(zip(("a", "b", "both"), line.split("\t"), strict=True))
        for line in (folder / "pairs.tsv").read_text().splitlines()[1:]
    ]
    renamed.write_text("".join(json.dumps({"left": row["a"], "right": row["b"]}) + "\n" for row in rows))
    assert predicted(model, renamed, text="left", pair="right") == found
    turned = predicted(model, renamed, text="right", pair="left")
    assert turned != found
    with pytest.raises(UserError, match='no field "b"'):
        predicted(model, folder / "test.jsonl", text="text")


def test_errors_come_after_the_answers_to_the_lines_before(folder: Path, tmp_path: Path, capsys: Any) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "the king"}\n{"text": "laughter"}\n{"text": 3}\n{"text": "sword"}\n')
    assert run(["predict", str(folder / "clf-bert.safetensors"), str(bad)]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 and "bad.jsonl:3" in said.err
    assert run(["predict", str(folder / "clf-bert.safetensors"), str(bad), "--on-error", "skip"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and "1" in said.err and "skip" in said.err.lower()


def test_long_texts_are_cut_to_what_the_model_was_taught(folder: Path, tmp_path: Path) -> None:
    model = folder / "clf-bert.safetensors"
    (tmp_path / "t.txt").write_text("the " * 50 + "laughter\n" + "the " * 22 + "\n")
    said: list[str] = []
    with nlpkit.base.events.listen(lambda record: said.append(record["text"]) if record["event"] == "note" else None):
        long, cut = predicted(model, tmp_path / "t.txt")
    assert long == cut  # 24 tokens, of which two are framing
    assert len(said) == 1 and re.match(r"1 of 2 texts is longer than 24 tokens and was cut", said[0])
    (tmp_path / "s.txt").write_text("the the laughter\nthe the\n")
    short, plain = predicted(model, tmp_path / "s.txt", max_len=4)
    assert short == plain


def test_an_empty_text_is_answered(folder: Path, tmp_path: Path) -> None:
    for name in ("bert", "gpt2"):
        (tmp_path / "e.jsonl").write_text('{"text": ""}\n{"text": "the"}\n')
        assert len(predicted(folder / f"clf-{name}.safetensors", tmp_path / "e.jsonl")) == 2


def test_a_file_without_texts_is_reported(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("")
    said: list[str] = []
    with nlpkit.base.events.listen(lambda record: said.append(record["text"]) if record["event"] == "note" else None):
        assert predicted(folder / "clf-bert.safetensors", tmp_path / "none.txt") == []
    assert said == ["0 texts"]


def test_there_is_an_answer_for_each_line(folder: Path, tmp_path: Path) -> None:
    """So that `paste` puts each beside its text; in a file of records an empty line is none."""
    (tmp_path / "t.txt").write_bytes(b"the king\r\n\r\n  \nthe sword\n\n")
    (tmp_path / "t.jsonl").write_text('{"text": ""}\n\n{"text": "the king"}\n')
    clf, gpt2 = folder / "clf-bert.safetensors", folder / "gpt2.safetensors"
    answers = predicted(clf, tmp_path / "t.txt")
    empty, king = predicted(clf, tmp_path / "t.jsonl")
    assert len(answers) == 5 and answers[0] == king and answers[1] == answers[4] == empty
    assert len(list(nlpkit.embed(gpt2, tmp_path / "t.txt"))) == 5
    written = list(nlpkit.generate(gpt2, tmp_path / "t.txt", max_new_tokens=1))
    assert [record["prompt"] for record in written] == ["the king", "", "  ", "the sword", ""]


def test_what_is_refused_is_refused_before_the_first_text(folder: Path, tmp_path: Path) -> None:
    for model, options, message in (
        ("bert", {}, "has no classifier"),
        ("clf-bert", {"max_len": 99}, "expected 4 to 24"),
        ("absent", {}, "No such file"),
    ):
        with pytest.raises(UserError, match=message):
            nlpkit.predict(folder / f"{model}.safetensors", folder / "test.jsonl", **options)
    with pytest.raises(UserError):
        predicted(folder / "clf-bert.safetensors", tmp_path / "absent.jsonl")
