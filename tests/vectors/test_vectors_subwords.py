"""Vectors of n-grams: their numbers are fastText's, and words that the training has not seen get the right ones."""

import json
import random

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages.vectors_train import train
from nlpkit.vectors.file import load
from nlpkit.vectors.queries.evaluate import evaluate
from nlpkit.vectors.queries.query import analogy, nearest
from nlpkit.vectors.text.subwords import BUCKETS, grams, ngrams, parse

WORDS = ["the", "a", "of", "naïve", "Straße", "日本語", "😀", "x" * 70, "e\u0301a", "don't", "new_york", "ß", "\u200b"]


def plain(word, least, most, buckets):
    """fastText's dictionary.cc in words: where a character begins, runs of so many, hashed by their signed bytes."""
    text, found = f"<{word}>", []
    for start in range(len(text)):
        for length in range(least, most + 1):
            gram = text[start : start + length]
            if len(gram) == length and gram not in "<>":
                code = 2166136261
                for byte in gram.encode():
                    code = (code ^ (byte if byte < 128 else byte - 256) % 2**32) * 16777619 % 2**32
                found.append(code % buckets)
    return found


@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 3), (3, 6), (2, 2), (5, 100)])
def test_numbers_of_ngrams(least, most):
    for word in WORDS:
        for buckets in (1, 7, 1000, 1 << 31):
            assert ngrams(word, least, most, buckets).tolist() == plain(word, least, most, buckets), word


@pytest.mark.oracle
def test_numbers_of_ngrams_are_fasttexts():
    from gensim.models.fasttext_inner import compute_ngrams_bytes, ft_hash_bytes

    rng = random.Random(0)
    made = ["".join(rng.choices("abcdzéßλ語😀'_", k=rng.randint(1, 12))) for _ in range(300)]
    for word in [*WORDS, *made]:
        for least, most in ((3, 6), (1, 4), (5, 5)):
            theirs = [ft_hash_bytes(gram) % 2000 for gram in compute_ngrams_bytes(word, least, most)]
            assert ngrams(word, least, most, 2000).tolist() == theirs, word


def test_vectors_are_means_of_a_words_own_and_its_ngrams():
    words = ["to", "too", "xy"]
    made = grams(words, 3, 4, 50)
    matrix = np.random.default_rng(0).normal(size=(3 + 50, 5)).astype(np.float32)
    for row, word in enumerate(words):
        rows = [row, *(3 + gram for gram in plain(word, 3, 4, 50))]
        assert made.rows[made.ends[row] : made.ends[row + 1]].tolist() == rows
        np.testing.assert_allclose(made.means(matrix)[row], matrix[rows].mean(0), rtol=1e-5)
    none = grams(words, 50, 60, 50)  # longer than any word: each has its own vector only
    np.testing.assert_array_equal(none.means(matrix), matrix[:3])


@pytest.mark.parametrize(
    "text",
    [
        "3",
        "3-",
        "-6",
        "6-3",
        "0-3",
        "3-101",
        "3-6\n",
        " 3-6",
        "three-six",
        "3-6-9",
        "",
        "३-६",
        "-3--6",
        "3.0-6",
        "9" * 5000 + "-" + "9" * 5000,
    ],
)
def test_other_lengths_are_refused(text):
    with pytest.raises(UserError, match="expected the shortest and the longest, such as 3-6"):
        parse(text)


def test_lengths_and_buckets():
    assert parse("3-6") == (3, 6, BUCKETS) and parse("1-100", 1) == (1, 100, 1)
    for buckets in (0, -1, 2**31 + 1, 2**64):
        with pytest.raises(UserError, match=r"expected (at least 1|at most 2,147,483,648)"):
            parse("3-6", buckets)


CRAFTS = {"roast": "oven", "sail": "harbour", "paint": "canvas", "weave": "loom", "steer": "rudder", "print": "paper"}


def words_of(stem):
    return {stem, stem + "er", stem + "ers", stem + "ing", CRAFTS[stem]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Some crafts, whose verbs are inflected; sentences stay with one craft."""
    rng = np.random.default_rng(0)
    here = tmp_path_factory.mktemp("subwords")
    lines = [" ".join(rng.choice(sorted(words_of(rng.choice(list(CRAFTS)))), 8)) for _ in range(3000)]
    (here / "corpus.txt").write_text("\n".join(lines) + "\n")
    train(here / "corpus.txt", here / "vec", dim=24, epochs=8, lr=0.05, sample=0.0, subwords="3-5", buckets=5000)
    return here / "vec"


def test_the_file_holds_the_ngrams(trained):
    opened = file.read(trained, kind="vectors")
    assert opened.array("ngrams").shape == (5000, 24)
    assert (opened.config["subwords"], opened.config["buckets"]) == ("3-5", 5000)
    assert opened.provenance["options"]["subwords"] == "3-5"


def test_words_never_seen_are_near_those_they_are_made_of(trained, capsys):
    """Misspelt, inflected otherwise, in capitals; nothing of the kind was in the text."""
    asked = {"roasted": "roast", "sailed": "sail", "harbuor": "sail", "weaved": "weave", "Paintings": "paint"}
    assert app.run(["vectors", "nearest", str(trained), *asked, "-k", "3", "--json"]) == 0
    for found in json.loads(capsys.readouterr().out)["nearest"]:
        assert {near["word"] for near in found["words"]} <= words_of(asked[found["word"]]), found


def test_the_vector_of_an_unknown_word_is_the_mean_of_its_ngrams(trained):
    opened = load(trained)
    known = opened.with_oov(["roasted", "oven", "roasted", "Roasted"])
    assert list(known.oov) == ["roasted", "Roasted"] and len(known.words) == len(opened.words)
    mean = opened.ngrams[plain("roasted", 3, 5, 5000)].mean(0)
    for word in known.oov:
        np.testing.assert_allclose(known.vectors[known.row(word)], mean, rtol=1e-5)
    assert opened.with_oov(["oven"]) is opened
    np.testing.assert_array_equal(known.vectors[: len(opened.words)], opened.vectors)


def test_a_map_shows_words_never_seen(trained, tmp_path, capsys):
    (tmp_path / "list").write_text("weaved\noven\n")
    command = ["vectors", "map", str(trained), "-o", str(tmp_path / "map.csv"), "roasted", "sailed"]
    assert app.run([*command, "--words-from", str(tmp_path / "list"), "--near", "Paintings", "-k", "2", "--json"]) == 0
    told = capsys.readouterr()
    points = json.loads(told.out)["points"]
    asked = {"Paintings", "roasted", "sailed", "weaved", "oven"}
    assert asked <= {point["word"] for point in points} and "no vector" not in told.err
    near = {point["word"] for point in points if point["group"] == "Paintings"} - {"Paintings"}
    assert len(near) == 2 and near <= words_of("paint")


def test_answers_are_words_of_the_vocabulary(trained):
    words = set(load(trained).words)
    found = nearest(trained, ["roasted", "sailed"], plus=["printed"], minus=["loom"], k=100)["nearest"]
    for each in found:
        assert {near["word"] for near in each["words"]} == words - {"loom"}
    for score in ("add", "mul"):
        answers = analogy(trained, "roasted", "roasting", "sailed", k=100, analogy_score=score)["answers"]
        assert {answer["word"] for answer in answers} == words - {"roasting"}
        assert answers[0]["word"] in words_of("sail")


def test_test_sets_with_unknown_words(trained, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "word1\tword2\tscore\trelation\nroasted\troast\t9\tform\nroast\troasted\t9\tform\n"
        "sailed\troast\t2\tother\nweave\tloom\t8\tother\nprinted\tpainted\t3\tother\n"
    )
    (tmp_path / "analogies.txt").write_text(
        ": forms\nroasted roast sailed sail\nroast roasted sail sailed\nsail sailer paint painter\n"
    )
    found = evaluate(trained, [pairs, tmp_path / "analogies.txt"], resamples=50)
    similarity, questions = found["sets"]
    assert similarity["used"] == similarity["items"] == 5
    assert similarity["relations"][0]["rank"]["value"] <= 5
    assert found["metrics"]["pairs.spearman"]["value"] > 0
    # The second question's answer is not in the vocabulary.
    assert (questions["items"], questions["used"]) == (3, 2)


def test_words_too_short_for_an_ngram_and_vectors_without_are_unknown(trained, tmp_path):
    opened = load(trained)
    train(trained.with_name("corpus.txt"), tmp_path / "plain", dim=4, epochs=0)
    train(trained.with_name("corpus.txt"), tmp_path / "long", dim=4, epochs=0, subwords="9-9", buckets=10)
    assert "??" in opened.with_oov(["??"]).oov  # three characters with its ends
    for path, word in ((tmp_path / "plain", "roasted"), (tmp_path / "long", "sailed")):
        with pytest.raises(UserError, match=f'the word "{word}" has no vector; did you mean'):
            nearest(path, [word])
    assert nearest(tmp_path / "long", ["harboured"])["nearest"][0]["word"] == "harboured"


def test_wrong_ngrams_are_refused_before_the_text_is_read(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"\xff")  # would be an error of its own
    for options, message in (
        ({"subwords": "6-3"}, 'subwords is "6-3"'),
        ({"buckets": 5}, "--buckets changes nothing"),
        ({"subwords": "3-6", "buckets": 0}, "buckets is 0"),
    ):
        with pytest.raises(UserError, match=message):
            train(tmp_path / "text.txt", tmp_path / "vec", **options)
