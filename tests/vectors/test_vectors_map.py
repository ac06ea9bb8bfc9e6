"""Words on a plane: which words, where, labels beside them, and the same bytes every time."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import vector_file

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.vectors.queries.labels import place_labels
from nlpkit.vectors.queries.map import pca, tsne

FIRST, SECOND = [f"red{number}" for number in range(12)], [f"blue{number}" for number in range(12)]
OTHERS = ["naïve", "$5", "東京", "a<b&c"]


@pytest.fixture(scope="module", autouse=True)
def no_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """matplotlib keeps a list of the fonts it met; not in the home of whoever runs the tests."""
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))


@pytest.fixture(scope="module")
def vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of words in two directions, and others."""
    rng = np.random.default_rng(0)
    base = np.eye(8)[[0] * 12 + [1] * 12 + [2, 3, 4, 5]]
    vectors = base + 0.15 * rng.normal(size=base.shape)
    path = tmp_path_factory.mktemp("map") / "vec.safetensors"
    return vector_file(path, [*FIRST, *SECOND, *OTHERS], vectors, lowercase=True)


def words_of(result: dict) -> list[str]:
    return [point["word"] for point in result["points"]]


def test_the_words_are_all_that_were_asked_for(vec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("red1\nunheard\n\nNaïve\n東京\nunseen\n", encoding="utf-8")
    told = nlpkit.vectors_map(vec, tmp_path / "m.csv", ["$5"], words_from=listed, near=["red0", "blue0"], k=3, top=2)
    groups = {point["word"]: point["group"] for point in told["points"]}
    near = {
        word: [found["word"] for found in nlpkit.vectors_nearest(vec, [word], k=3)["nearest"][0]["words"]]
        for word in ("red0", "blue0")
    }
    assert words_of(told)[:8] == ["red0", *near["red0"], "blue0", *near["blue0"]]
    assert {word for word, group in groups.items() if group == "red0"} == {"red0", *near["red0"]}
    assert {"$5", "naïve", "東京", "red1"} <= set(groups) and groups["$5"] is None
    assert len(set(words_of(told))) == len(told["points"])
    arguments = ["vectors", "map", str(vec), "-o", str(tmp_path / "n.csv"), "--words-from", str(listed)]
    assert app.run(arguments) == 0
    assert "2 of 5 words have no vector: unheard, unseen" in capsys.readouterr().err


def test_a_word_that_is_asked_for_is_in_its_own_group(vec: Path, tmp_path: Path) -> None:
    told = nlpkit.vectors_map(vec, tmp_path / "m.csv", near=["red0", "red1"], k=11)
    groups = {point["word"]: point["group"] for point in told["points"]}
    assert groups["red0"] == "red0" and groups["red1"] == "red1" and groups["red2"] == "red0"


def test_principal_components_are_sklearns_with_a_fixed_sign() -> None:
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(1).normal(size=(20, 7)) * np.arange(1, 8)
    points, explained = pca(vectors)
    theirs = PCA(2).fit(vectors)
    np.testing.assert_allclose(np.abs(points), np.abs(theirs.transform(vectors)), atol=1e-9)
    assert explained == pytest.approx(theirs.explained_variance_ratio_)
    assert (points[np.abs(points).argmax(0), [0, 1]] > 0).all()
    flat, shares = pca(np.ones((4, 7)))
    assert not flat.any() and shares == [0, 0]
    np.testing.assert_allclose(pca(np.arange(3.0)[:, None])[0], [[-1, 0], [0, 0], [1, 0]], atol=1e-12)


@pytest.mark.parametrize("method", [pca, tsne])
def test_groups_stay_together(vec: Path, method: object) -> None:
    from nlpkit.vectors.file import load

    points = method(load(vec).unit[:24].astype(np.float64))[0]
    red, blue = points[:12], points[12:]
    spread = max(np.linalg.norm(group - group.mean(0), axis=1).max() for group in (red, blue))
    assert np.linalg.norm(red.mean(0) - blue.mean(0)) > 2 * spread / (1 if method is pca else 2)
    np.testing.assert_array_equal(points, method(load(vec).unit[:24].astype(np.float64))[0])


def test_a_table_of_coordinates(vec: Path, tmp_path: Path) -> None:
    told = nlpkit.vectors_map(vec, tmp_path / "m.csv", OTHERS, near="red0", k=2)
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == words_of(told)
    for row, point in zip(rows, told["points"], strict=True):
        assert float(row["x"]) == pytest.approx(point["x"], abs=1e-5)
        assert float(row["y"]) == pytest.approx(point["y"], abs=1e-5)
        assert row["group"] == (point["group"] or "")


def test_labels_keep_off_each_other_and_inside() -> None:
    rng = np.random.default_rng(2)
    area = (600.0, 480.0)
    points = rng.uniform((60, 30), (540, 450), size=(60, 2))
    points[:6] = points[0] + rng.normal(size=(6, 2)) * 2  # a heap of six
    sizes = np.stack([rng.uniform(15, 60, 60), np.full(60, 11.0)], 1)
    corners, far = place_labels(points, sizes, area)
    assert (corners >= 0).all() and (corners + sizes <= area).all()
    low = np.maximum(corners[:, None], corners[None])
    high = np.minimum(corners[:, None] + sizes[:, None], corners[None] + sizes[None])
    shared = np.prod(np.maximum(0, high - low), axis=2)
    np.fill_diagonal(shared, 0)
    assert shared.sum() == 0
    assert far[:6].any() and not far[6:].all()
    nearest = np.linalg.norm(np.clip(points, corners, corners + sizes) - points, axis=1)
    assert nearest.max() < 45 and (nearest[~far] < 9).all()


@pytest.mark.parametrize("form", ["png", "svg"])
def test_pictures_are_the_same_in_any_process_and_under_any_settings(vec: Path, tmp_path: Path, form: str) -> None:
    """A person's matplotlibrc, the hash seed, the place and the time reach no byte."""
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\nsavefig.bbox: tight\n")
    made = []
    for seed, settings in (("1", os.environ["MPLCONFIGDIR"]), ("77", str(tmp_path / "settings"))):
        target = tmp_path / f"{seed}.{form}"
        words = ["vectors", "map", str(vec), "-o", str(target), "--near", "red0", "--near", "blue0", "-k", "8", "$5"]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "MPLCONFIGDIR": settings}
        subprocess.run([sys.executable, "-m", "nlpkit", *words], env=environment, check=True, cwd=tmp_path)
        made.append(target.read_bytes())
    assert made[0] == made[1] and len(made[0]) > 5000
    assert not re.search(rb"20\d\d-\d\d-\d\d|matplotlib v|Software", made[0])


def test_a_picture_shows_every_word_as_text(vec: Path, tmp_path: Path) -> None:
    """In SVG they can be searched and copied; what is mathematics or markup elsewhere is a word here."""
    nlpkit.vectors_map(vec, tmp_path / "m.svg", OTHERS, near=["red0"], k=5)
    text = (tmp_path / "m.svg").read_text("utf-8")
    for word in ("naïve", "$5", "東京", "a&lt;b&amp;c", "red0"):
        assert f">{word}</text>" in text, word
    bold = re.findall(r"font-weight: 700[^>]*>([^<]*)</text>", text)
    assert bold == ["red0"]
    assert "10 words, the two principal components" in text
    nlpkit.vectors_map(vec, tmp_path / "t.svg", near=["red0"], k=5, method="tsne")
    assert "6 words, t-SNE" in (tmp_path / "t.svg").read_text("utf-8")


def test_missing_letters_are_said(vec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["vectors", "map", str(vec), "-o", str(tmp_path / "m.png"), "red0", "red1", "東京"]) == 0
    said = capsys.readouterr().err
    assert "letters that matplotlib's font lacks" in said and "m.png: map" in said
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert app.run(["vectors", "map", str(vec), "-o", str(tmp_path / "n.png"), "red0", "red1", "red2", "--json"]) == 0
    captured = capsys.readouterr()
    assert "lacks" not in captured.err and len(json.loads(captured.out)["points"]) == 3


def test_without_matplotlib_a_table_still_goes(vec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="needs matplotlib") as caught:
        nlpkit.vectors_map(vec, tmp_path / "m.png", FIRST)
    assert "pip install 'nlpkit[plots]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
    assert nlpkit.vectors_map(vec, tmp_path / "m.csv", FIRST)["points"]


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("m.jpg", {"words": FIRST}, 'ending ".jpg" is unknown'),
        ("m", {"words": FIRST}, 'ending "" is unknown'),
        ("-", {"words": FIRST}, "cannot go to stdout"),
        ("m.csv", {}, "0 words are requested; a map shows 3 to 1,000"),
        ("m.csv", {"words": FIRST[:2]}, "2 words are requested"),
        ("m.csv", {"words": FIRST, "k": 5}, "-k changes nothing|--k changes nothing"),
        ("m.csv", {"near": ["rde0"]}, 'did you mean "red0"'),
        ("m.csv", {"words": ["nothing"]}, "has no vector"),
        ("m.csv", {"words": FIRST, "method": "umap"}, 'method "umap" is unknown'),
    ],
)
def test_what_cannot_be_drawn_is_refused(vec: Path, tmp_path: Path, name: str, asked: dict, message: str) -> None:
    target = Path(name) if name == "-" else tmp_path / name
    with pytest.raises(UserError, match=message):
        nlpkit.vectors_map(vec, target, **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_unasked(vec: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        nlpkit.vectors_map(vec, tmp_path / "m.csv", FIRST)
    nlpkit.vectors_map(vec, tmp_path / "m.csv", FIRST, force=True)
    assert (tmp_path / "m.csv").read_text().startswith("word,x,y")
