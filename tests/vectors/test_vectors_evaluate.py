"""Test sets, their metrics, and queries, on vectors whose answers are known."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from nlpkit.artifact.provenance import Run
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.vectors.file import load
from nlpkit.vectors.queries import query, testsets
from nlpkit.vectors.queries.evaluate import evaluate, neighbour_ranks, spearman
from nlpkit.vectors.queries.query import analogy, nearest

SETS = Path(importlib.util.find_spec("gensim").origin).parent / "test" / "test_data"

# Words on a grid of two differences, female and royal, and one apart.
GRID = {
    "man": [1, 0, 0, 0],
    "woman": [1, 1, 0, 0],
    "king": [1, 0, 1, 0],
    "queen": [1, 1, 1, 0],
    "prince": [1, 0, 0.6, 0.3],
    "princess": [1, 1, 0.6, 0.3],
    "turnip": [0, 0, 0, 1],
}


def write(path, words, vectors, **config):
    run = Run.start("vectors train", {"output": path, "seed": 0}, inputs=())
    vectors = np.asarray(vectors, np.float32)
    counts = np.arange(len(words), 0, -1)
    run.write(
        {"vectors": vectors, "context": vectors, "counts": counts},
        kind="vectors",
        config={"words": list(words), "lowercase": True, **config},
    )
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


def test_words_can_be_added_and_taken_away(grid):
    """Each word is asked for by itself; what is added and taken is left out of the answers too."""
    found = nearest(grid, ["king", "prince"], plus=["woman"], minus=["man"], k=2)
    assert (found["plus"], found["minus"]) == (["woman"], ["man"])
    opened = load(grid)
    unit = {word: opened.unit[row] for word, row in opened.ids.items()}
    for entry in found["nearest"]:
        target = unit[entry["word"]] + unit["woman"] - unit["man"]
        cosines = {word: vector @ target / np.linalg.norm(target) for word, vector in unit.items()}
        others = sorted(set(GRID) - {entry["word"], "woman", "man"}, key=lambda word: -cosines[word])
        assert [near["word"] for near in entry["words"]] == others[:2]
        assert entry["words"][0]["cosine"] == pytest.approx(float(cosines[others[0]]), abs=1e-6)
    assert found["nearest"][0]["words"][0]["word"] == "queen"


def test_multiplied_cosines_are_the_papers(grid):
    """3CosMul, with the epsilon of Levy and Goldberg 2014."""
    found = analogy(grid, "man", "woman", "king", analogy_score="mul")
    opened = load(grid)
    moved = (opened.unit @ opened.unit.T + 1) / 2
    a, b, c = (moved[opened.ids[word]] for word in ("man", "woman", "king"))
    scores = dict(zip(opened.words, b * c / (a + 0.001), strict=True))
    assert found["analogy_score"] == "mul"
    expected = sorted(set(GRID) - {"man", "woman", "king"}, key=lambda word: -scores[word])
    assert [answer["word"] for answer in found["answers"]] == expected
    for answer in found["answers"]:
        assert answer["score"] == pytest.approx(float(scores[answer["word"]]), abs=1e-6)
    with pytest.raises(UserError, match='analogy-score "mull" is unknown; did you mean "mul"'):
        analogy(grid, "man", "woman", "king", analogy_score="mull")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
def test_queries_give_gensims_answers(tmp_path, monkeypatch):
    from gensim.models import KeyedVectors

    monkeypatch.setattr(query, "EPSILON", 1e-6)  # gensim's
    rng = np.random.default_rng(3)
    words, vectors = [f"w{row}" for row in range(300)], rng.normal(size=(300, 10)).astype(np.float32)
    path, theirs = write(tmp_path / "r.safetensors", words, vectors), KeyedVectors(10)
    theirs.add_vectors(words, vectors)
    for _ in range(20):
        a, b, c, d = (words[row] for row in rng.choice(300, 4, replace=False))
        for ours, expected in (
            (nearest(path, [a])["nearest"][0]["words"], theirs.most_similar(a)),
            (
                nearest(path, [a], plus=[b], minus=[c, d])["nearest"][0]["words"],
                theirs.most_similar(positive=[a, b], negative=[c, d]),
            ),
            (analogy(path, a, b, c)["answers"], theirs.most_similar(positive=[b, c], negative=[a])),
            (
                analogy(path, a, b, c, analogy_score="mul")["answers"],
                theirs.most_similar_cosmul(positive=[b, c], negative=[a]),
            ),
        ):
            assert [answer["word"] for answer in ours] == [word for word, _ in expected]
            values = [answer.get("cosine", answer.get("score")) for answer in ours]
            assert values == pytest.approx([value for _, value in expected], rel=1e-5, abs=2e-6)


def test_unknown_words_name_the_nearest(grid):
    with pytest.raises(UserError, match=r'"qeen" has no vector; did you mean "queen"\?'):
        nearest(grid, ["qeen"])
    with pytest.raises(UserError, match=r'"zzz" has no vector\n'):
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
        assert isinstance(found, testsets.Pairs)
        assert found.pairs == expected and found.scores == [1.5, 9.2]
        assert found.relation == (["A", "A"] if "POS" in text else None)
    found = testsets.read(put(tmp_path / "q.txt", ": one\na b c d\n: gram two\ne f g h\n"))
    assert isinstance(found, testsets.Analogies)
    assert found.sections == ["one", "gram two"] and found.section == [0, 1]
    assert testsets.read(put(tmp_path / "q.txt", "a b c d\n")).sections == ["all"]


def test_pairs_may_have_relations(tmp_path):
    """With scores or without; four columns of names do not make it a set of analogies."""
    scored = testsets.read(
        put(tmp_path / "s.txt", "w1\tw2\trelation\tmean\nold\tnew\tantonym\t1\nbig\tlarge\tsynonym\t9\n")
    )
    assert scored.pairs == [("old", "new"), ("big", "large")]
    assert (scored.relation, scored.scores) == (["antonym", "synonym"], [1, 9])
    bare = testsets.read(put(tmp_path / "b.csv", "word1,word2,Relation\nold,new,antonym\ngo,went,past tense\n"))
    assert (bare.relation, bare.scores) == (["antonym", "past tense"], None)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "holds no pairs and no analogies", ""),
        ("# only\n", "holds no pairs and no analogies", ""),
        ("a b 1\nc d\n", "not two words and a number", ":2"),
        ("a b 1\nc d nan\n", "not two words and a number", ":2"),
        ("a b\n", "not two words and a number", ":1"),
        ("w1 w2 score\n", "holds no pairs", ""),
        (": s\na b c d\na b c\n", "has 3 words", ":3"),
        (": s\n", "holds no analogies", ""),
        ("a,b,relation\nc,d\n", "has no relation, which is column 3", ":2"),
        ("a,b,relation\nc,d,\n", "has no relation", ":2"),
        ("a,b,relation\nc,,antonym\n", "has no relation", ":2"),
        ("a,b,relation,score\nc,d,antonym,1\ne,f,antonym,\n", "some have none", ":3"),
        ("a,b,relation,score\nc,d,antonym,\ne,f,antonym,1\n", "some have none", ":3"),
    ],
)
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


def test_pairs_by_relation(grid, tmp_path):
    """Mean cosine, rank among the neighbours, correlation where there is one, coverage: each of its pairs alone."""
    rows = [
        ("man", "woman", "antonym", 1),
        ("king", "queen", "antonym", 2),
        ("king", "zebra", "antonym", 3),
        ("prince", "king", "hyponym", 8),
        ("queen", "princess", "hyponym", 7),
        ("man", "king", "hyponym", 3),
        ("x", "y", "past tense", 5),
    ]
    text = "a\tb\trelation\tmean\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    found = evaluate(grid, [put(tmp_path / "s.tsv", text)], resamples=50)
    (detail,) = found["sets"]
    antonym, hyponym, tense = detail["relations"]
    opened = load(grid)
    unit = {word: opened.unit[row] for word, row in opened.ids.items()}
    assert (antonym["relation"], antonym["items"], antonym["used"]) == ("antonym", 3, 2)
    assert antonym["coverage"] == pytest.approx(2 / 3) and antonym["spearman"] is None
    expected = [float(unit[a] @ unit[b]) for a, b, relation, _ in rows[:2]]
    assert antonym["cosine"]["value"] == pytest.approx(np.mean(expected))
    ranks = []
    for a, b, *_ in rows[3:6]:
        order = sorted((word for word in GRID if word != a), key=lambda word: -float(unit[word] @ unit[a]))
        ranks.append(order.index(b) + 1)
    assert hyponym["rank"]["value"] == np.median(ranks) and len(set(ranks)) > 1
    assert hyponym["spearman"] is not None
    for name in ("cosine", "rank", "spearman"):
        assert hyponym[name]["low"] <= hyponym[name]["value"] <= hyponym[name]["high"]
        assert tense[name] is None
    bare = "a\tb\trelation\n" + "".join("\t".join(row[:3]) + "\n" for row in rows)
    without = evaluate(grid, [put(tmp_path / "b.tsv", bare)], resamples=50)
    assert without["metrics"] == {} and without["sets"][0]["relations"][1]["spearman"] is None
    assert without["sets"][0]["relations"][0]["cosine"] == antonym["cosine"]


def test_ranks_are_the_same_in_blocks(tmp_path, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(7, 4))
    opened = load(write(tmp_path / "r.safetensors", [f"w{row}" for row in range(7)], vectors))
    pairs = np.array([[a, b] for a in range(7) for b in range(7) if a != b])
    whole = neighbour_ranks(opened, pairs)
    assert sorted(whole[:6]) == [1, 2, 3, 4, 5, 6]
    monkeypatch.setattr("nlpkit.vectors.queries.evaluate._SCORES_AT_ONCE", 15)  # two pairs at a time
    np.testing.assert_array_equal(neighbour_ranks(opened, pairs), whole)


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
    family, wrong, none = detail["relations"]
    assert family["accuracy"] == {"value": 1, "low": 1, "high": 1} and wrong["accuracy"]["value"] == 0
    assert none["accuracy"] is None
    assert [part["coverage"] for part in detail["relations"]] == [pytest.approx(2 / 3), 1, 0]
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


def test_options_of_analogies_need_some(grid, tmp_path):
    pairs = put(tmp_path / "t.txt", "man king 3\nwoman queen 2\nking queen 1\n")
    for given in ({"restrict_vocab": 5}, {"analogy_score": "add"}):
        with pytest.raises(UserError, match="changes nothing: no set holds analogies"):
            evaluate(grid, [pairs], **given)
    put(tmp_path / "q.txt", "man woman king queen\n")
    assert evaluate(grid, [pairs, tmp_path / "q.txt"], restrict_vocab=5, analogy_score="mul", resamples=5)["metrics"]


def test_another_kind_of_file_is_refused(tmp_path):
    run = Run.start("x", {"output": tmp_path / "x.safetensors"}, inputs=())
    run.write({"a": np.zeros(2)}, kind="tokens", config={})
    with pytest.raises(UserError, match="is a tokens file; expected vectors"):
        nearest(tmp_path / "x.safetensors", ["a"])


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
@pytest.mark.slow
def test_published_sets_give_gensims_numbers(tmp_path, monkeypatch):
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
    monkeypatch.setattr(query, "EPSILON", 1e-6)  # gensim's
    multiplied = evaluate(path, sets[2:], analogy_score="mul", resamples=20)

    def cosmul(positive, negative, topn, **_):  # gensim 4.4 does not read its own similarity_function
        return theirs.most_similar_cosmul(positive=positive, negative=negative, topn=topn)

    for measured, function in ((found, theirs.most_similar), (multiplied, cosmul)):
        monkeypatch.setattr(theirs, "most_similar", function)
        score, sections = theirs.evaluate_word_analogies(str(sets[2]), restrict_vocab=len(words))
        ours = {part["relation"]: part["accuracy"] for part in measured["sets"][-1]["relations"]}
        for section in sections[:-1]:
            right, wrong = len(section["correct"]), len(section["incorrect"])
            assert ours[section["section"]]["value"] == pytest.approx(right / (right + wrong))
            assert ours[section["section"]]["low"] <= right / (right + wrong) <= ours[section["section"]]["high"]
        assert measured["metrics"]["questions-words.accuracy"]["value"] == pytest.approx(score)
        assert 0.05 < score < 0.9
    assert found["metrics"]["questions-words.accuracy"] != multiplied["metrics"]["questions-words.accuracy"]
    assert {"questions-words.semantic", "questions-words.syntactic"} < set(found["metrics"])


def test_commands(grid, tmp_path, capsys):
    assert app.run(["vectors", "nearest", str(grid), "king", "-k", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == 1 and printed["nearest"][0]["words"][0]["word"] == "prince"
    assert app.run(["vectors", "analogy", str(grid), "man", "woman", "king", "-k", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[1] == "queen"
    put(tmp_path / "q.txt", ": s\nman woman king queen\n")
    assert app.run(["vectors", "evaluate", str(grid), str(tmp_path / "q.txt"), "--resamples", "10"]) == 0
    printed = capsys.readouterr().out
    assert "q.accuracy" in printed and "  s " in printed
    put(tmp_path / "r.tsv", "a\tb\trelation\nman\twoman\tantonym\nx\ty\tother\n")
    assert app.run(["vectors", "evaluate", str(grid), str(tmp_path / "r.tsv")]) == 0
    printed = capsys.readouterr().out
    assert "antonym" in printed and " rank 2  [2, 2]  (1 of 1)" in printed and "nothing known  (0 of 1)" in printed
    assert app.run(["vectors", "nearest", str(grid), "king", "--plus", "woman", "--minus", "man", "-k", "1"]) == 0
    assert capsys.readouterr().out.startswith("king + woman - man\t")
    assert app.run(["vectors", "nearest", str(grid), "kink"]) == 2
    assert 'did you mean "king"?' in capsys.readouterr().err
