"""The page: whole, alone, escaped, the same every time, and with what its files say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import toys
from making import token_file

import nlpkit
from nlpkit.artifact import file
from nlpkit.base import events
from nlpkit.base.errors import Interrupted, UserError
from nlpkit.cli import app

SMALL: dict[str, Any] = {
    "n_layers": 1,
    "d_model": 32,
    "n_heads": 2,
    "max_len": 32,
    "batch_tokens": 256,
    "threads": 1,
    "steps": 6,
    "eval_every": 2,
    "log_every": 1,
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;\x00\u202e"


class Page(HTMLParser):
    """The page as a parser reads it: that every element is closed by its own end, texts, attributes, elements."""

    VOID = ("meta", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *tags: str) -> str:
        return " ".join(data for tag, data in self.texts if not tags or tag in tags)

    def data(self) -> dict[str, Any]:
        (found,) = (data for tag, data in self.texts if tag == "script" and data.startswith("{"))
        return dict(json.loads(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that differ in a learning rate, a classifier with its evaluation, and the logs of all."""
    made = tmp_path_factory.mktemp("report")
    token_file(made / "tokens.safetensors", documents=30)
    token_file(made / "dev.safetensors", documents=4, seed=5)
    for name, lr in (("a", 1e-3), ("b", 5e-3)):
        nlpkit.pretrain(
            [made / "tokens.safetensors"],
            made / f"{name}.safetensors",
            dev=made / "dev.safetensors",
            lr=lr,
            log=made / f"{name}.jsonl",
            **SMALL,
        )
    toys.model(made / "bert.safetensors")
    for name, n in (("train", 30), ("dev", 12), ("test", 12)):
        toys.texts(made / f"{name}.jsonl", n, seed=n)
    nlpkit.finetune(
        made / "bert.safetensors",
        made / "train.jsonl",
        made / "clf.safetensors",
        dev=made / "dev.jsonl",
        steps=3,
        log=made / "clf-log.jsonl",
        log_every=1,
        threads=1,
    )
    nlpkit.evaluate(
        made / "clf.safetensors",
        made / "test.jsonl",
        train=made / "train.jsonl",
        resamples=20,
        threads=1,
        output=made / "clf.json",
    )
    return made


def report(folder: Path, output: Path, *names: str, **options: Any) -> str:
    nlpkit.report([folder / name for name in names], output, **options)
    return output.read_text("utf-8")


ALL = ("a.safetensors", "a.jsonl", "b.jsonl", "b.safetensors", "clf.safetensors", "clf-log.jsonl", "clf.json")


@pytest.fixture(scope="module")
def whole(folder: Path) -> str:
    return report(folder, folder / "whole.html", *ALL, title="Three runs", attention="the king of france goes out")


def test_the_page_is_whole_and_asks_nothing_of_the_network(whole: str) -> None:
    page = Page(whole)
    assert [tag for tag, _ in page.elements[:2]] == ["html", "head"]
    idents = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(idents)) == len(idents)
    assert not {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.elements:
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#")[:1] == "#", f"{tag} {name}={attributes[name]}"  # type: ignore[index]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)|fetch\(|XMLHttpRequest|import\(", whole)
    targets = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert {f"#{ident}" for ident in idents} >= targets


def test_what_each_run_learnt_stands_at_the_top(folder: Path, whole: str) -> None:
    page = Page(whole)
    notes = [json.loads(line) for line in (folder / "clf-log.jsonl").read_text().splitlines()]
    (said,) = [item["text"] for item in notes if "bag_of_words" in item]
    assert said in page.text("p") and whole.index(said.split(";")[0]) < whole.index("<table")
    assert "the most frequent label" in page.text("text") and "guessing" in page.text("text")


def test_only_its_own_style_and_script_may_run(whole: str) -> None:
    page = Page(whole)
    (policy,) = (attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None and policy.startswith("default-src 'none'") and "unsafe" not in policy
    for tag in ("style", "script"):
        (source,) = (data for found, data in page.texts if found == tag and not data.startswith("{"))
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path, whole: str) -> None:
    again = report(folder, tmp_path / "x.html", *ALL, title="Three runs", attention="the king of france goes out")
    assert again == whole
    assert str(folder) not in whole and "20" + "26" not in re.sub(r"[0-9a-f]{12,}", "", whole.split("<main>")[0])


def test_it_says_what_the_files_say(folder: Path, whole: str) -> None:
    page = Page(whole)
    said = page.text()
    for name in ("a.safetensors", "clf.json"):
        assert file.file_sha256(folder / name) in said
    headings = [data for tag, data in page.texts if tag == "h2"]
    assert headings == ["Runs", "Learning curves", "Evaluation", "Options", "Attention", "Lineage", "Files"]
    assert page.text("h1") == "Three runs" and "3 runs and 1 evaluation from 7 files" in said
    rows = re.findall(r"<tr>(.*?)</tr>", whole)
    assert any(">lr<" in row and ">0.001<" in row and ">0.005<" in row for row in rows)
    assert any(">accuracy<" in row and "baseline" not in row for row in rows) and "baseline majority" in said
    score = json.loads((folder / "clf.json").read_text())["metrics"]["accuracy"]
    assert f"{score['value']:.4f}" in said and f"{score['low']:.4f} to {score['high']:.4f}" in said


def test_charts_hold_the_logged_values(folder: Path, whole: str) -> None:
    steps = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in steps if record["event"] == "step"]
    charts = Page(whole).data()["charts"]
    drawn = charts["chart0"]["lines"]
    assert [(line["run"], line["dev"]) for line in drawn] == [(0, False), (0, True), (1, False), (1, True)]
    assert drawn[0]["x"] == [1, 2, 3, 4, 5, 6] and drawn[0]["y"] == pytest.approx(losses, rel=1e-5)
    assert drawn[1]["x"] == [2, 4, 6] and Page(whole).data()["names"] == ["a", "b", "clf"]
    assert {chart["unit"] for chart in charts.values()} == {"step", "tokens", "time"}


def test_lineage_shows_each_file_once_with_its_hash(folder: Path, whole: str) -> None:
    drawing = whole[whole.index('<h2 id="lineage"') :]
    for name in ("tokens.safetensors", "dev.safetensors", "bert.safetensors", "train.jsonl", "a.safetensors"):
        sha = file.file_sha256(folder / name)
        assert drawing.count(f"sha256 {sha}") == 1, name
    assert drawing.count('class="node source') == 2 and drawing.count('class="edge"') == 4 + 3


def test_attention_shows_every_head(folder: Path, whole: str) -> None:
    first, second, third = Page(whole).data()["attention"]
    assert [len(one["maps"]) for one in (first, second, third)] == [1, 1, 2]
    assert third["tokens"] == ["[CLS]", "the", "king", "of", "france", "goes", "out", "[SEP]"]
    for heads in third["maps"]:
        for weights in heads:
            rows = [weights[place : place + 16] for place in range(0, 128, 16)]
            sums = [sum(int(row[place : place + 2], 16) for place in range(0, 16, 2)) / 255 for row in rows]
            assert len(heads) == 2 and sums == pytest.approx([1] * 8, abs=0.02)


def test_a_log_alone_and_an_artefact_alone_are_runs(folder: Path, tmp_path: Path) -> None:
    page = Page(report(folder, tmp_path / "log.html", "a.jsonl"))
    assert "Learning curves" in page.text("h2") and "0.001" in page.text("td") and "Evaluation" not in page.text("h2")
    page = Page(report(folder, tmp_path / "file.html", "a.safetensors"))
    assert "Learning curves" not in page.text("h2") and "Lineage" in page.text("h2")
    page = Page(report(folder, tmp_path / "score.html", "clf.json"))
    assert [data for tag, data in page.texts if tag == "h2"] == ["Evaluation", "Files"]


def test_an_unfinished_run_says_so(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "l.jsonl").write_text(
        "".join(line for line in lines if '"done"' not in line and '"step": 6' not in line)
    )
    assert "5 of 6, not finished" in Page(report(tmp_path, tmp_path / "r.html", "l.jsonl")).text()


def test_an_unfinished_run_and_its_saved_state_are_one(folder: Path, tmp_path: Path) -> None:
    def interrupt(record: dict[str, Any]) -> None:
        if record["event"] == "step" and record["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    with events.listen(interrupt), pytest.raises(Interrupted):
        nlpkit.pretrain(
            [folder / "tokens.safetensors"],
            tmp_path / "m.safetensors",
            dev=folder / "dev.safetensors",
            log=tmp_path / "m.jsonl",
            **SMALL,
        )
    page = Page(report(tmp_path, tmp_path / "r.html", "m.jsonl", "m.safetensors.resume"))
    assert "1 run from 2 files" in page.text() and "3 of 6, not finished" in page.text()
    assert page.data()["charts"]["chart0"]["lines"][0]["x"] == [1, 2, 3]


def test_wall_clock_is_shown_from_logs_only(folder: Path, tmp_path: Path) -> None:
    assert "tokens/s" not in report(folder, tmp_path / "x.html", "a.safetensors")
    assert "tokens/s" in report(folder, tmp_path / "y.html", "a.safetensors", "a.jsonl")


def test_word_vectors_have_a_curve(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("the king of france goes out at night with his sword\n" * 60)
    nlpkit.vectors_train(
        [tmp_path / "c.txt"],
        tmp_path / "v.safetensors",
        dim=8,
        epochs=2,
        min_count=1,
        threads=1,
        log=tmp_path / "v.jsonl",
    )
    page = Page(report(tmp_path, tmp_path / "r.html", "v.safetensors", "v.jsonl"))
    charts = page.data()["charts"]
    assert charts["chart0"]["unit"] == "epoch" and charts["chart0"]["lines"][0]["x"] == [1, 2]
    assert "vectors train" in page.text("h3") and page.text("h1") == "nlpkit report"


def test_hostile_text_is_shown_and_never_run(tmp_path: Path, folder: Path) -> None:
    """Names, options, labels and metrics from a file that wants to be a script."""
    records: list[dict[str, Any]] = [
        {
            "event": "training",
            "command": HOSTILE,
            "output": HOSTILE,
            "options": {HOSTILE: HOSTILE},
            "step": 0,
            "inputs": [{"role": HOSTILE, "name": HOSTILE, "sha256": HOSTILE}],
            "versions": {HOSTILE: HOSTILE},
            "seed": HOSTILE,
            "parameters": 3,
            "steps": 4,
        },
        {"event": "step", "step": 1, "loss": 1.0, "losses": {HOSTILE: 1.0, "other": 2.0}, "lr": 0.1},
        {"event": "evaluation", "step": 1, "metrics": {HOSTILE: 0.5}, "score": 0.5, "best": True},
        {"event": "done", "name": HOSTILE, "output": HOSTILE, "kind": HOSTILE, "sha256": HOSTILE},
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    interval = {HOSTILE: {"value": 0.5, "low": 0.1, "high": 0.9}}
    score = {
        "model": {"name": HOSTILE, "sha256": HOSTILE},
        "data": {"name": HOSTILE, "sha256": HOSTILE},
        "metrics": interval,
        "baselines": {HOSTILE: interval},
        "difference": interval,
        "against": {"name": HOSTILE, "metrics": interval},
        "confusion": {"labels": [HOSTILE, "b"], "counts": [[1, 2], [3, 4]]},
    }
    (tmp_path / "s.json").write_text(json.dumps(score))
    text = report(tmp_path, tmp_path / "r.html", "l.jsonl", "s.json", title=HOSTILE)
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 2 and "img" not in [tag for tag, _ in page.elements]
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert "\x00" not in text and "\u202e" not in text and "alert(1)" in page.text("h1")
    assert "<script>alert" not in text and "</script><script>alert" not in text


def test_a_log_that_puts_a_file_behind_itself_is_no_trouble(tmp_path: Path) -> None:
    records = [
        {
            "event": "training",
            "command": "x",
            "output": "m",
            "step": 0,
            "inputs": [{"role": "a", "name": "m", "sha256": "11"}, {"role": "b", "name": "n", "sha256": "22"}],
        },
        {"event": "done", "name": "x", "output": "m", "sha256": "11"},
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "<h2" in report(tmp_path, tmp_path / "r.html", "l.jsonl")


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        (("a.safetensors", "a.safetensors"), {}, "has the same bytes as a file before it"),
        (("train.jsonl",), {}, r"train\.jsonl:1: is not an event"),
        (("nowhere.jsonl",), {}, "cannot read"),
        ((".",), {}, "is a folder"),
        (("bad.bin",), {}, "is neither an artefact nor text"),
        (("bad.json",), {}, "is not a result of nlpkit evaluate"),
        (("a.jsonl",), {"attention": "x"}, "--attention changes nothing: no run has a model"),
        (("a.safetensors",), {"attention": "no " * 40}, "has more than 32 tokens"),
        (("a.safetensors",), {"attention": ""}, "has no tokens"),
        (("a.safetensors",), {"output": None}, "no output is requested"),
        (("a.jsonl",), {"output": None, "tensorboard": "t", "title": "x"}, "--title changes nothing"),
        (("a.jsonl",), {"output": "-"}, "it cannot go to stdout"),
        (("a.safetensors",), {"tensorboard": "t"}, "--tensorboard changes nothing: no log has curves"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, tmp_path: Path, names: tuple[str, ...], options: dict[str, Any], says: str
) -> None:
    (folder / "bad.bin").write_bytes(b"\xff\xfe")
    (folder / "bad.json").write_text('{"model": {}, "data": {}, "metrics": {"a": 1}}')
    if options.get("tensorboard"):
        options = {**options, "tensorboard": tmp_path / "t"}
    with pytest.raises(UserError, match=says):
        nlpkit.report([folder / name for name in names], **{"output": tmp_path / "r.html", **options})
    assert not (tmp_path / "r.html").exists()


def test_the_command_says_what_it_wrote(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["report", str(folder / "a.jsonl"), "-o", "r.html"]
    assert app.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sha256"] == file.file_sha256(tmp_path / "r.html") and found["runs"][0]["name"] == "a.safetensors"
    assert app.run(words) == 2
    assert "r.html: exists already" in capsys.readouterr().err
    assert app.run([*words, "--force"]) == 0
    assert "r.html: report of 1 run, " in capsys.readouterr().err
