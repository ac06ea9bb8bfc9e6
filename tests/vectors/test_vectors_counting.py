"""Counting and the ids on disk, against a dictionary in memory."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpkit.base.errors import UserError
from nlpkit.vectors.text import counting
from nlpkit.vectors.text.counting import Spool, choose_words, count, rewritten


class Split:
    """Words by white space."""

    def __init__(self):
        self.ids = {}

    def __call__(self, sentences):
        words = [sentence.split() for sentence in sentences]
        ids = [self.ids.setdefault(word, len(self.ids)) for sentence in words for word in sentence]
        return np.array(ids, np.int32), np.array(list(map(len, words)), np.int64)

    @property
    def names(self):
        return list(self.ids)


def pairs(sentences):
    """Some at a time."""
    return [sentences[start : start + 2] for start in range(0, len(sentences), 2)]


def run(sentences, folder, **options):
    split, spool = Split(), Spool(folder / "target")
    counts = count(map(split, pairs(sentences)), spool, "counting")
    vocabulary, final = choose_words(split.names, counts, **{"min_count": 1, "vocab_size": None, **options})
    return vocabulary, rewritten(spool.blocks(), final, spool.target)


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9).map(" ".join), max_size=30),
    st.integers(1, 4),
    st.none() | st.integers(2, 5),
)
def test_ids_on_disk_are_the_frequent_words_of_each_sentence(tmp_path_factory, sentences, min_count, vocab_size):
    folder = tmp_path_factory.mktemp("spool")
    truth = Counter(word for sentence in sentences for word in sentence.split())
    words = sorted((word for word in truth if truth[word] >= min_count), key=lambda word: (-truth[word], word))
    words = words[:vocab_size]
    if len(words) < 2:
        with pytest.raises(UserError, match="at least 2 are needed"):
            run(sentences, folder, min_count=min_count, vocab_size=vocab_size)
        return
    vocabulary, corpus = run(sentences, folder, min_count=min_count, vocab_size=vocab_size)
    assert vocabulary.words == words and vocabulary.counts.tolist() == [truth[word] for word in words]
    assert vocabulary.corpus_words == truth.total()
    expected = [[words.index(word) for word in sentence.split() if word in words] for sentence in sentences]
    for _ in range(2):  # it can be read again
        assert [sentence.tolist() for sentence in np.split(corpus.ids, corpus.offsets[1:-1])] == [
            sentence for sentence in expected if sentence
        ]
    assert corpus.words == vocabulary.counts.sum()
    assert list(folder.iterdir()) == []  # nothing has a name, so nothing can be left behind


def test_blocks_do_not_show(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    sentences = [" ".join(f"w{word}" for word in rng.zipf(1.3, 7) if word < 500) for _ in range(300)]
    whole, corpus = run(sentences, tmp_path, min_count=2)
    monkeypatch.setattr(counting, "_SENTENCES", 30)
    monkeypatch.setattr(counting, "_IDS", 11)
    parts, again = run(sentences, tmp_path, min_count=2)
    assert whole.words == parts.words
    np.testing.assert_array_equal(corpus.ids, again.ids)
    np.testing.assert_array_equal(corpus.offsets, again.offsets)


def test_too_few_words_say_how_frequent_they_are(tmp_path):
    with pytest.raises(
        UserError, match=r"1 of the corpus' 5 words occur 3 times or more.*most frequent occurs 4 times"
    ):
        run(["a a a", "a b"], tmp_path, min_count=3)
    with pytest.raises(UserError, match="most frequent occurs 0 times"):
        run([], tmp_path)
