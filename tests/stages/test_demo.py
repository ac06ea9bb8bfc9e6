"""The demonstration: an honest split, the whole chain, and only what changed is run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app, demo
from nlpkit.stages import demo_data as data
from nlpkit.stages import demo_shown as shown
from nlpkit.stages.demo_stages import RECIPE, STAGES

SMALL = """
[tokenizer.train]
kind = "word"
vocab-size = 300
[vectors.train]
dim = 8
epochs = 1
[pretrain]
n-layers = 2
d-model = 16
n-heads = 2
max-len = 16
steps = 3
batch-tokens = 256
[finetune]
steps = 3
batch-tokens = 256
[distill]
n-layers = 1
steps = 3
batch-tokens = 256
[evaluate]
resamples = 50
"""


@pytest.fixture(scope="module")
def few() -> list[dict[str, Any]]:
    """The first scenes of every play: each part and genre has some."""
    return [speech for speech in data.speeches() if speech["act"] == "ACT I"][::4]


@pytest.fixture(autouse=True)
def small_text(few: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "speeches", lambda: few)


def test_no_scene_is_both_learnt_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    speeches = data.speeches()
    assert len(speeches) == 31_354
    scenes: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for speech in speeches:
        scenes[data.part(speech)].add(f"{speech['play']}/{speech['act']}/{speech['scene']}")
    assert not scenes["train"] & scenes["test"] and not scenes["train"] & scenes["dev"]
    assert not scenes["dev"] & scenes["test"]
    total = sum(map(len, scenes.values()))
    assert 0.06 < len(scenes["test"]) / total < 0.14 and 0.06 < len(scenes["dev"]) / total < 0.14


def test_few_of_the_speeches_that_are_read_have_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert data.write(tmp_path) == {"train": 1_052, "test": 3_510, "scenes": 609}
    read = set((tmp_path / "corpus.txt").read_text("utf-8").splitlines())
    labelled, test = (toys.lines(tmp_path / f"{name}.jsonl") for name in ("train", "test"))
    assert all(row["text"] in read for row in labelled) and {row["label"] for row in labelled} == set(data.GENRES)
    long = [row["text"] for row in test if len(row["text"]) > 60]  # "Ay, my lord." is said in many scenes
    assert len(long) > 1_500 and not read & set(long)


def test_the_whole_chain_and_only_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert app.run(["demo", "--dir", str(folder), "--data-only"]) == 0
    assert {path.name for path in folder.iterdir()} == {"corpus.txt", "train.jsonl", "test.jsonl", RECIPE}
    (folder / RECIPE).write_text(SMALL)
    capsys.readouterr()

    assert app.run(["demo", "--dir", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["verified"] is True and result["schema"] == 1
    assert {item["name"] for item in result["files"]} >= {stage.output for stage in STAGES}
    for stage in STAGES:
        assert f"\n\n$ {stage.line(folder)}" in printed.err  # what it types can be typed
    assert "nlpkit tokens corpus.txt" in printed.err and "--config" not in STAGES[1].line(folder)  # defaults do
    teacher, student = result["scores"]["teacher"], result["scores"]["student"]
    assert set(teacher["baselines"]) == {"majority", "bag_of_words"}
    assert student["difference"]["accuracy"]["value"] == pytest.approx(
        student["metrics"]["accuracy"]["value"] - teacher["metrics"]["accuracy"]["value"], abs=1e-12
    )
    assert result["made"] == [stage.output for stage in STAGES]
    page = (folder / "report.html").read_text("utf-8")
    assert result["report"] == str(folder / "report.html") and "teacher" in page and "bag of words" in page
    assert student["model"]["n_layers"] == 1 and teacher["model"]["n_layers"] == 2
    sums = {stage.output: file.file_sha256(folder / stage.output) for stage in STAGES}

    again = nlpkit.demo(folder, verify=False)
    assert again["made"] == []

    (folder / RECIPE).write_text(SMALL.replace("[distill]", "[distill]\ntemperature = 3.0"))
    after = nlpkit.demo(folder, verify=False)
    assert after["made"] == ["student.safetensors"]
    changed = {stage.output for stage in STAGES if file.file_sha256(folder / stage.output) != sums[stage.output]}
    assert changed == {"student.safetensors"}


def test_what_is_learnt_is_shown_and_every_second_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    nlpkit.demo(folder, data_only=True)
    (folder / RECIPE).write_text(SMALL)
    assert app.run(["demo", "--dir", str(folder), "--no-verify", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    seconds = result["seconds"]
    total = seconds.pop("total")
    assert {stage.command for stage in STAGES} | {"text", "examples", "evaluate", "report"} < set(seconds)
    assert sum(seconds.values()) == pytest.approx(total, abs=0.05 * (len(seconds) + 1))  # each is rounded
    for word, words in result["nearest"].items():
        assert len(words) == 6 and word not in words and f"{word}  ->  {', '.join(words)}" in printed.err
    for sentence, pieces in result["filled"].items():
        assert len(pieces) == 6 and len(set(pieces)) == 6 and f"{sentence}  ->  {', '.join(pieces)}" in printed.err
    truth = {row["text"]: row["label"] for row in toys.lines(folder / "test.jsonl")}
    predictions = nlpkit.predict(folder / "teacher.safetensors", [row["text"] for row in result["predictions"]])
    for row, record in zip(result["predictions"], predictions, strict=True):
        assert (
            truth[row["text"]] == row["label"] and row["prediction"] == record["label"] and row["text"] in printed.err
        )


def test_a_mask_is_filled_by_what_the_sentence_adds(tmp_path: Path) -> None:
    """A model that has learnt one sentence knows its word, beside a mask that stands alone."""
    pairs = [("the king of france is dead", "france"), ("the sword of rome is old", "rome")]
    (tmp_path / "corpus.txt").write_text("\n\n".join(text for text, _ in pairs * 200) + "\n")
    tok, tokens, bert = (tmp_path / f"{name}.safetensors" for name in ("tok", "tokens", "bert"))
    nlpkit.tokenizer_train([tmp_path / "corpus.txt"], tok, kind="word")
    nlpkit.tokens([tmp_path / "corpus.txt"], tokens, tokenizer=tok)
    sizes = {"n_layers": 1, "d_model": 32, "n_heads": 1, "max_len": 16, "cut": "sentences"}
    nlpkit.pretrain([tokens], bert, steps=200, batch_tokens=128, lr=3e-3, **sizes)
    sentences = {text.replace(word, shown.MASK): word for text, word in pairs}
    filled = shown.filled(bert, list(sentences), k=1)
    assert filled == {sentence: [word] for sentence, word in sentences.items()}


@pytest.mark.parametrize(("low", "said"), [(0.01, "It shows that"), (-0.01, "It does not show that")])
def test_what_is_concluded_depends_on_the_interval(low: float, said: str) -> None:
    gain = {"accuracy": {"value": 0.02, "low": low, "high": 0.03}}
    scores = {"teacher": {"over_baselines": {"bag_of_words": gain}}, "student": {"difference": gain}}
    first, limits = demo.conclusions({"scores": scores, "rows": {"scenes": 609}})
    assert first.startswith(f"\n{said} reading 609 scenes without labels pays")
    assert "does not show plays that were never seen" in limits


def test_the_table_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    nlpkit.demo(folder, data_only=True)
    (folder / RECIPE).write_text(SMALL)
    assert app.run(["demo", "--dir", str(folder), "--no-verify"]) == 0
    text = capsys.readouterr().out
    for word in ("majority", "bag of words", "teacher (2 x 16)", "student (1 x 16)", "minus bag of words", "does not"):
        assert word in text
    assert str(folder / "report.html") in text and " seconds: " in text
    assert "Verified" not in text


def test_a_wrong_recipe_or_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    nlpkit.demo(folder, data_only=True)
    (folder / RECIPE).write_text("[pretrain]\nstep = 3\n")
    with pytest.raises(UserError, match='did you mean "steps"'):
        nlpkit.demo(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        nlpkit.demo(tmp_path / "file")
