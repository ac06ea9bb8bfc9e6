"""The demonstration: an honest split, the whole chain, and only what changed is run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages import demo_data as data
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
label = "genre"
steps = 3
batch-tokens = 256
[distill]
label = "genre"
n-layers = 1
steps = 3
batch-tokens = 256
[evaluate]
label = "genre"
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


def test_the_whole_chain_and_only_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert app.run(["demo", "--dir", str(folder), "--data-only"]) == 0
    assert {path.name for path in folder.iterdir()} == {"corpus.txt", "train.jsonl", "dev.jsonl", "test.jsonl", RECIPE}
    (folder / RECIPE).write_text(SMALL)
    capsys.readouterr()

    assert app.run(["demo", "--dir", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["verified"] is True and result["schema"] == 1
    assert {item["name"] for item in result["files"]} >= {stage.output for stage in STAGES}
    for stage in STAGES:
        assert f"\n\n$ {stage.line()}" in printed.err  # what it types can be typed
    teacher, student = result["scores"]["teacher"], result["scores"]["student"]
    assert set(teacher["baselines"]) == {"majority", "bag_of_words"}
    assert student["model"]["n_layers"] == 1 and teacher["model"]["n_layers"] == 2
    sums = {stage.output: file.file_sha256(folder / stage.output) for stage in STAGES}

    again = nlpkit.demo(folder, verify=False)
    assert set(again["seconds"].values()) == {0.0}

    (folder / RECIPE).write_text(SMALL.replace("[distill]", "[distill]\ntemperature = 3.0"))
    after = nlpkit.demo(folder, verify=False)
    assert [name for name, seconds in after["seconds"].items() if seconds] == ["student.safetensors"]
    changed = {stage.output for stage in STAGES if file.file_sha256(folder / stage.output) != sums[stage.output]}
    assert changed == {"student.safetensors"}


def test_the_tables_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    nlpkit.demo(folder, data_only=True)
    (folder / RECIPE).write_text(SMALL)
    assert app.run(["demo", "--dir", str(folder), "--no-verify"]) == 0
    text = capsys.readouterr().out
    for word in ("majority", "bag of words", "teacher (2 x 16)", "student (1 x 16)", "student.safetensors", "does not"):
        assert word in text
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
