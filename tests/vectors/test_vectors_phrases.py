"""Phrases: the pairs that gensim joins, and the rule of the paper by hand."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.base import events
from nlpkit.vectors.text import phrases
from nlpkit.vectors.text.counting import Spool, count


def spooled(sentences, folder):
    """Sentences of words as ids, with the names and counts of the words."""
    ids: dict[str, int] = {}
    split = [[ids.setdefault(word, len(ids)) for word in sentence] for sentence in sentences]
    spool = Spool(folder / "target")
    block = np.array([word for sentence in split for word in sentence], np.int32), np.array(list(map(len, split)))
    return spool, list(ids), count([block], spool, "counting")


def texts(spool, names):
    found = []
    for ids, lengths in spool.blocks():
        found += [[names[word] for word in part.tolist()] for part in np.split(ids, np.cumsum(lengths)[:-1])]
    return found


def joined(sentences, folder, *, passes=1, discount=1, threshold=1.0):
    source, names, counts = spooled(sentences, folder)
    for _ in range(passes):
        source, names, counts, _ = phrases.join(
            source, names, counts, discount=discount, threshold=threshold, target=folder / "target"
        )
    found = texts(source, names)
    here = Counter(word for sentence in found for word in sentence)
    assert {name: number for name, number in zip(names, counts.tolist(), strict=False) if number} == here
    assert len(set(names)) == len(names)
    return found


def by_hand(sentences, discount, threshold):
    """word2phrase's rule on lists of words."""
    words = Counter(word for sentence in sentences for word in sentence)
    pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence))
    total, found = words.total(), []
    for sentence in sentences:
        out: list[str] = []
        place = 0
        while place < len(sentence):
            pair = tuple(sentence[place : place + 2])
            if len(pair) == 2 and (pairs[pair] - discount) * total > threshold * words[pair[0]] * words[pair[1]]:
                out.append("_".join(pair))
                place += 1
            else:
                out.append(sentence[place])
            place += 1
        found.append(out)
    return found


SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=12), min_size=1, max_size=12)


@given(SENTENCES, st.integers(1, 3), st.sampled_from([0, 0.37, 0.93, 1.61, 3.3]), st.integers(1, 3), st.booleans())
@settings(max_examples=200, deadline=None)
def test_pairs_are_joined_as_the_paper_says(tmp_path_factory, sentences, discount, threshold, passes, small):
    folder = tmp_path_factory.mktemp("phrases")
    expected = sentences
    for _ in range(passes):
        expected = by_hand(expected, discount, threshold)
    with pytest.MonkeyPatch.context() as patch:
        if small:  # a table of two pairs: the text is gone through again and again
            patch.setattr(phrases, "_MAX_SLOTS", 4)
        options = {"passes": passes, "discount": discount, "threshold": threshold}
        assert joined(sentences, folder, **options) == expected
    assert list(folder.iterdir()) == []


def language(sentences=3000, words=120, seed=0):
    """Random words, with pairs and triples among them that often stand together."""
    rng = np.random.default_rng(seed)
    together = [("new", "york"), ("new", "york", "times"), ("ice", "cream"), ("per", "cent")]
    out = []
    for _ in range(sentences):
        line = [f"w{word}" for word in rng.zipf(1.3, 9) if word < words]
        if rng.random() < 0.3:
            place = rng.integers(0, len(line) + 1)
            line[place:place] = together[rng.integers(len(together))]
        out.append(line)
    return out


def score(worda_count, wordb_count, bigram_count, len_vocab, min_count, corpus_word_count):
    return (bigram_count - min_count) / worda_count / wordb_count * corpus_word_count


@pytest.mark.oracle
@pytest.mark.parametrize(("discount", "threshold"), [(5, 10.0), (1, 1.0), (20, 50.0)])
def test_the_pairs_are_gensims(tmp_path, discount, threshold):
    """Two passes, by gensim's own loop; its score by default has the size of the vocabulary for that of the corpus."""
    from gensim.models.phrases import Phrases

    sentences = theirs = language()
    for _ in range(2):
        model = Phrases(theirs, min_count=discount, threshold=threshold, scoring=score, delimiter="_")
        theirs = [model[sentence] for sentence in theirs]
    ours = joined(sentences, tmp_path, passes=2, discount=discount, threshold=threshold)
    assert ours == theirs
    assert any("ice_cream" in sentence for sentence in ours)
    if threshold < 50:
        assert any("new_york_times" in sentence for sentence in ours)


def test_large_tables_are_halved_and_lose_nothing(tmp_path, monkeypatch):
    sentences = language(words=1000)
    whole = joined(sentences, tmp_path, discount=1, threshold=0.5)
    monkeypatch.setattr(phrases, "_MAX_SLOTS", 64)
    calls = []
    real = phrases._count

    def counted(source, able, parts):
        calls.append(parts[-1])
        return real(source, able, parts)

    monkeypatch.setattr(phrases, "_count", counted)
    assert joined(sentences, tmp_path, discount=1, threshold=0.5) == whole
    assert len(calls) > 16 and len(set(calls)) == len(calls)


def test_a_phrase_that_has_the_name_of_a_word_is_that_word(tmp_path):
    sentences = [["a", "b"]] * 5 + [["a_b", "x"]] * 2 + [["y", "z", "x"]] * 40
    found = joined(sentences, tmp_path, threshold=3.0)
    assert found[:7] == [["a_b"]] * 5 + [["a_b", "x"]] * 2
    # Two ways to a_b_c: (a_b, c) and (a, b_c), of which the names alone are compared.
    source, names, counts = spooled([["a_b", "c"]] * 4 + [["a", "b_c"]] * 4 + [["z"]] * 50, tmp_path)
    _, names, counts, _ = phrases.join(source, names, counts, discount=1, threshold=3.0, target=tmp_path / "target")
    assert names.count("a_b_c") == 1 and counts[names.index("a_b_c")] == 8


def test_the_phrases_of_a_text_are_joined_in_another(tmp_path):
    """Also where the other has not all of the words, and not as often."""
    target = tmp_path / "target"
    source, names, counts = spooled(language(), tmp_path)
    other, others, _ = spooled([["times", "new", "york", "times"], ["ice", "ice", "cream", "new"], ["york"]], tmp_path)
    for _ in range(2):
        source, names, counts, pairs = phrases.join(source, names, counts, discount=5, threshold=10.0, target=target)
        other, others, _, _ = phrases.again(other, others, pairs, target)
    assert texts(other, others) == [["times", "new_york_times"], ["ice", "ice_cream", "new"], ["york"]]


def test_sentences_keep_their_ends(tmp_path):
    """b and a stand together only across a line end."""
    sentences = [["a", "b"]] * 50 + [["z"]] * 100
    assert joined(sentences, tmp_path, threshold=1.0)[:50] == [["a_b"]] * 50
    apart = [["a"], ["b"]] * 50
    assert joined(apart, tmp_path, threshold=0.0) == apart


def test_what_was_joined_is_said(tmp_path):
    said = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        joined(language(), tmp_path, discount=5, threshold=10.0)
        joined([["a", "b"]], tmp_path)
    notes = [text for text in said if text]
    assert notes[0].startswith("4 pairs of words are phrases: new_york, ") and notes[0].endswith(", ...")
    assert notes[1] == "0 pairs of words are phrases"
