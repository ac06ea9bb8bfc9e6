"""Test sets, their metrics, and queries, on vectors whose answers are known."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from nlpkit.artifact.provenance import Run
from nlpkit.cli import app
from nlpkit.errors import UserError
from nlpkit.vectors import testsets
from nlpkit.vectors.evaluate import evaluate, spearman
from nlpkit.vectors.file import load
from nlpkit.vectors.query import analogy, nearest

SETS = Path(importlib.util.find_spec("gensim").origin).parent / "test" / "test_data"

# Words on a grid of two differences, female and royal, and one apart.
GRID = {
    "man": [1, 0, 0, 0], "woman": [1, 1, 0, 0], "king": [1, 0, 1, 0], "queen": [1, 1, 1, 0],
    "prince": [1, 0, 0.6, 0.3], "princess": [1, 1, 0.6, 0.3], "turnip": [0, 0, 0, 1],
}  # fmt: skip


def write(path, words, vectors, **config):
    run = Run.start("vectors train", {"output": path, "seed": 0}, inputs=())
    vectors = np.asarray(vectors, np.float32)
    counts = np.arange(len(words), 0, -1)
    run.write({"vectors": vectors, "context": vectors, "counts": counts}, kind="vectors",
              config={"words": list(words), "lowercase": True, **config})  # fmt: skip
    return path


@pytest.fixture
def grid(tmp_path):
    return write(tmp_path / "grid.safetensors", GRID, list(GRID.values()))


def put(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_nearest_is_by_cosine_without_the_word(grid):
    (found,) = nearest(grid, ["king"], k=2)["nearest"]
    unit = load(grid).unit
    cosines = {word: float(unit[2] @ unit[row]) for row, word in enumerate(GRID) if word != "king"}
    best = sorted(cosines, key=lambda word: -cosines[word])[:2]
    assert [near["word"] for near in found["words"]] == best
    assert found["words"][0]["cosine"] == pytest.approx(cosines[best[0]], abs=1e-6)


def test_more_neighbours_than_words_are_all_words(grid):
    (found,) = nearest(grid, ["king"], k=100)["nearest"]
    assert {near["word"] for near in found["words"]} == set(GRID) - {"king"}


def test_analogy_leaves_out_its_own_words(grid):
    answers = analogy(grid, "man", "woman", "king")["answers"]
    assert answers[0]["word"] == "queen"
    assert not {"man", "woman", "king"} & {answer["word"] for answer in answers}
    assert len(answers) == 4


def test_unknown_words_name_the_nearest(grid):
    with pytest.raises(UserError, match=r'"qeen" has no vector; did you mean "queen"\?'):
        nearest(grid, ["qeen"])
    with pytest.raises(UserError, match=r'"zzz" has no vector$'):
        analogy(grid, "man", "zzz", "king")


def test_case_follows_the_training(grid, tmp_path):
    upper, lower = nearest(grid, ["King", "king"])["nearest"]
    assert upper["word"] == "King" and upper["words"] == lower["words"]
    cased = write(tmp_path / "cased.safetensors", GRID, list(GRID.values()), lowercase=False)
    with pytest.raises(UserError, match='did you mean "king"'):
        nearest(cased, ["King"])


def test_a_zero_vector_is_near_nothing(tmp_path):
    path = write(tmp_path / "z.safetensors", ["a", "b", "c"], [[0, 0], [1, 0], [0, 1]])
    assert [near["cosine"] for near in nearest(path, ["a"])["nearest"][0]["words"]] == [0, 0]


def test_formats_of_published_sets(tmp_path):
    expected = [("old", "new"), ("smart", "wise")]
    for text in (
        "old\tnew\t1.5\nsmart\twise\t9.2\n",
        "# comment\n\nWord 1\tWord 2\tHuman (mean)\nold\tnew\t1.5\nsmart\twise\t9.2\n",
        "Word 1,Word 2,Human (mean)\nold,new,1.5\nsmart,wise,9.2\n",
        "old new 1.5\r\nsmart wise 9.2\r\n",
        "\ufeffword1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.5\t2.7\nsmart\twise\tA\t9.2\t1.7\n",
    ):
        found = testsets.read(put(tmp_path / "set.txt", text))
        assert isinstance(found, testsets.Similarity)
        assert found.pairs == expected and found.scores == [1.5, 9.2]
    found = testsets.read(put(tmp_path / "q.txt", ": one\na b c d\n: gram two\ne f g h\n"))
    assert isinstance(found, testsets.Analogies)
    assert found.sections == ["one", "gram two"] and found.section == [0, 1]
    assert testsets.read(put(tmp_path / "q.txt", "a b c d\n")).sections == ["all"]


@pytest.mark.parametrize(("text", "message", "line"), [
    ("", "holds no pairs and no analogies", ""),
    ("# only\n", "holds no pairs and no analogies", ""),
    ("a b 1\nc d\n", "not two words and a number", ":2"),
    ("a b 1\nc d nan\n", "not two words and a number", ":2"),
    ("a b\n", "not two words and a number", ":1"),
    ("w1 w2 score\n", "holds no pairs", ""),
    (": s\na b c d\na b c\n", "has 3 words", ":3"),
    (": s\n", "holds no analogies", ""),
])  # fmt: skip
def test_malformed_sets_name_their_line(tmp_path, text, message, line):
    path = put(tmp_path / "bad.txt", text)
    with pytest.raises(UserError, match=message) as caught:
        testsets.read(path)
    assert caught.value.where == f"{path}{line}"


def test_a_set_that_is_not_text(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"a b 1\n\xff\xfe b 2\n")
    with pytest.raises(UserError, match="UTF-8") as caught:
        testsets.read(path)
    assert caught.value.where == f"{path}:2"


def test_similarity_is_the_rank_correlation_of_known_pairs(grid, tmp_path):
    text = "man king 3\nwoman queen 2\nking queen 9\nTurnip king 0\nking zebra 5\nprince king 8\n"
    found = evaluate(grid, [put(tmp_path / "s.tsv", text)], resamples=50)
    opened = load(grid)
    pairs = [("man", "king"), ("woman", "queen"), ("king", "queen"), ("turnip", "king"), ("prince", "king")]
    cosines = np.array([opened.unit[opened.ids[a]] @ opened.unit[opened.ids[b]] for a, b in pairs])
    from scipy.stats import spearmanr

    metric = found["metrics"]["s.spearman"]
    assert metric["value"] == pytest.approx(spearmanr([3, 2, 9, 0, 8], cosines).statistic)
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert found["sets"] == [{"set": "s", "kind": "similarity", "items": 6, "used": 5, "coverage": 5 / 6}]


def test_spearman_is_scipys():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, 15), rng.normal(size=15)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4)))


def test_analogies_by_section(grid, tmp_path):
    text = ": family\nman woman king queen\nman woman prince princess\nman woman zebra zebra\n"
    text += ": gram wrong\nman woman king turnip\n: gram none\nx y z w\n"
    found = evaluate(grid, [put(tmp_path / "q.txt", text)], resamples=50)
    assert found["metrics"]["q.accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["metrics"]["q.semantic"]["value"] == 1 and found["metrics"]["q.syntactic"]["value"] == 0
    (detail,) = found["sets"]
    assert (detail["items"], detail["used"]) == (5, 3)
    assert [part["accuracy"] for part in detail["sections"]] == [1, 0, None]
    narrow = evaluate(grid, [tmp_path / "q.txt"], restrict_vocab=4, resamples=50)
    assert narrow["sets"][0]["used"] == 1
    assert narrow["metrics"] == {"q.accuracy": {"value": 1.0, "low": 1.0, "high": 1.0}}


def test_too_little_known_is_an_error(grid, tmp_path):
    for text, message in (
        ("a b 1\nc d 2\nman king 3\n", "only 1 of its 3 pairs"),
        (": s\na b c d\n", "none of its 1 analogies"),
        ("man king 3\nwoman queen 3\nking queen 3\n", "scores of its known pairs are equal"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(grid, [put(tmp_path / "t.txt", text)])
    with pytest.raises(UserError, match='two sets are called "t"'):
        put(tmp_path / "t.txt", "man king 3\nwoman queen 2\nking queen 1\n")
        evaluate(grid, [tmp_path / "t.txt", tmp_path / "t.txt"], resamples=10)


def test_another_kind_of_file_is_refused(tmp_path):
    run = Run.start("x", {"output": tmp_path / "x.safetensors"}, inputs=())
    run.write({"a": np.zeros(2)}, kind="tokens", config={})
    with pytest.raises(UserError, match="is a tokens file; expected vectors"):
        nearest(tmp_path / "x.safetensors", ["a"])


@pytest.mark.oracle
def test_published_sets_give_gensims_numbers(tmp_path):
    """WordSim-353, SimLex-999 and questions-words, on random vectors that share a part within each analogy."""
    from gensim.models import KeyedVectors

    questions = testsets.read(SETS / "questions-words.txt")
    words = sorted({word.lower() for question in questions.questions for word in question})
    for name in ("wordsim353.tsv", "simlex999.txt"):
        words += sorted({word.lower() for pair in testsets.read(SETS / name).pairs for word in pair} - set(words))[::2]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(words), 8)).astype(np.float32)
    ids = {word: row for row, word in enumerate(words)}
    relation = rng.normal(size=(len(questions.sections), 8))
    for (first, second, _, _), section in zip(questions.questions, questions.section, strict=True):
        vectors[ids[second.lower()]] = vectors[ids[first.lower()]] + relation[section]
    path = write(tmp_path / "r.safetensors", words, vectors)
    theirs = KeyedVectors(8)
    theirs.add_vectors(words, vectors)
    sets = [SETS / name for name in ("wordsim353.tsv", "simlex999.txt", "questions-words.txt")]
    found = evaluate(path, sets, resamples=20)
    for given in sets[:2]:
        _, correlation, missing = theirs.evaluate_word_pairs(str(given), dummy4unknown=False)
        assert found["metrics"][f"{given.stem}.spearman"]["value"] == pytest.approx(correlation.statistic, abs=1e-6)
        detail = next(item for item in found["sets"] if item["set"] == given.stem)
        assert detail["coverage"] == pytest.approx(1 - missing / 100)
        assert detail["coverage"] < 1
    score, sections = theirs.evaluate_word_analogies(str(sets[2]), restrict_vocab=len(words))
    ours = {part["section"]: part["accuracy"] for part in found["sets"][2]["sections"]}
    for section in sections[:-1]:
        right, wrong = len(section["correct"]), len(section["incorrect"])
        assert ours[section["section"]] == pytest.approx(right / (right + wrong))
    assert found["metrics"]["questions-words.accuracy"]["value"] == pytest.approx(score)
    assert 0.1 < score < 0.9
    assert {"questions-words.semantic", "questions-words.syntactic"} < set(found["metrics"])


def test_commands(grid, tmp_path, capsys):
    assert app.run(["vectors", "nearest", str(grid), "king", "-k", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == 1 and printed["nearest"][0]["words"][0]["word"] == "prince"
    assert app.run(["vectors", "analogy", str(grid), "man", "woman", "king", "-k", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[1] == "queen"
    put(tmp_path / "q.txt", ": s\nman woman king queen\n")
    assert app.run(["vectors", "evaluate", str(grid), str(tmp_path / "q.txt"), "--resamples", "10"]) == 0
    assert "q.accuracy" in capsys.readouterr().out
    assert app.run(["vectors", "nearest", str(grid), "kink"]) == 2
    assert 'did you mean "king"?' in capsys.readouterr().err
