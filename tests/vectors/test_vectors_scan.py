"""Words numbered by the compiled kernel, against the rule in Python."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlpkit.base.parallel import in_threads
from nlpkit.machine.native import Kernels
from nlpkit.tokenizers.normalize import basic_words
from nlpkit.vectors.text import scan, words
from nlpkit.vectors.text.words import Words

# Text of pieces that meet each other: plain words, signs, accents, other scripts, control characters, odd spaces.
PIECES = [
    *"aAzZ09 \t\r-'_.~\x7f\x00\x01\x03\x0b\x0c\x1c\x1f\x85\xa0éÉßÆİſΣς中語ー한글\u0301\u200d\u2028\u3000\ufeff¼②≠😀𝔸",
    "the",
    "The",
    "don't",
    "well-known",
    "naïve",
    "café",
    "CAFÉ",
    "e\u0301",
    "привет",
    "  ",
    "a\x00b",
    "İstanbul",
]
TEXT = st.lists(
    st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=16
).map("".join)
BATCHES = st.lists(st.lists(TEXT, max_size=4), max_size=3)


class Rule:
    """The words of a sentence, by the docstring of `nlpkit.vectors.text.words`."""

    def __init__(self, *, lowercase):
        self.ids = {}
        self.lowercase = lowercase

    def __call__(self, sentence):
        found = [word for word in basic_words(sentence, lower=self.lowercase) if any(map(str.isalnum, word))]
        return [self.ids.setdefault(word, len(self.ids)) for word in found]


def check(batches, lowercase):
    kernel, rule = Words(lowercase=lowercase), Rule(lowercase=lowercase)
    for batch in batches:
        ids, lengths = kernel("".join(f"{sentence}\n" for sentence in batch).encode())
        expected = [rule(sentence) for sentence in batch]
        assert lengths.tolist() == list(map(len, expected))
        assert ids.tolist() == [number for sentence in expected for number in sentence]
    assert kernel.names == list(rule.ids)


@given(BATCHES, st.booleans())
@settings(max_examples=100, deadline=None)
@example([["a 中", "", "a中b é É\x0b日 the"], ["é a"]], True)
def test_words_are_those_of_the_rule(batches, lowercase):
    check(batches, lowercase)


@given(BATCHES, st.booleans(), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_small_tables_grow_and_forget_without_being_seen(batches, lowercase, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan.table, "__defaults__", (1, 1))
        patch.setattr(words, "MAX_BYTES", most)
        check(batches, lowercase)


@given(BATCHES, st.booleans(), st.sampled_from([0, 3, 100]))
@settings(max_examples=100, deadline=None)
def test_threads_number_words_as_one_does(batches, lowercase, own):
    """What several threads number, each with a table of its own that is kept or begun anew, means the same words."""
    whole, rule = Words(lowercase=lowercase), Rule(lowercase=lowercase)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan.table, "__defaults__", (1, 1))
        patch.setattr(words, "MAX_LOCAL_WORDS", own)
        threads = [whole.apart(), whole.apart()]
        for number, batch in enumerate(batches * 2):
            ids, lengths = threads[number % 2]("".join(f"{sentence}\n" for sentence in batch).encode())
            expected = [rule(sentence) for sentence in batch]
            assert lengths.tolist() == list(map(len, expected))
            assert ids.tolist() == [number for sentence in expected for number in sentence]
    assert whole.names == list(rule.ids)


def test_words_of_threads_at_the_same_time():
    rng = np.random.default_rng(0)
    lines = [" ".join(f"w{word}é don't-{word}" for word in rng.zipf(1.2, 9) % 5000) for _ in range(2000)]
    whole, rule = Words(lowercase=True), Words(lowercase=True)
    blocks = ["".join(f"{line}\n" for line in lines[start : start + 20]).encode() for start in range(0, 2000, 20)]
    found = list(in_threads(whole.apart, blocks, threads=4))
    names = np.array(whole.names)
    for block, (ids, lengths) in zip(blocks, found, strict=True):
        expected, sizes = rule(block)
        alone = rule.names
        assert names[ids].tolist() == [alone[word] for word in expected] and lengths.tolist() == sizes.tolist()
    assert sorted(names) == sorted(alone)


def test_every_character_is_at_most_one_word():
    """And so no text has more words than bytes, for which there is room."""
    for lower in (True, False):
        for start in range(0, sys.maxunicode + 1, 1 << 12):
            text = "".join(chr(code) for code in range(start, start + (1 << 12)) if not 0xD800 <= code < 0xE000)
            for character in text if start < 1 << 16 else text[::499]:
                assert len([word for word in basic_words(character, lower=lower) if any(map(str.isalnum, word))]) <= 1


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_byte_has_its_place(lowercase):
    check([[f"x{chr(code)}y {chr(code)} {chr(code)}z" for code in range(256) if code != 10]], lowercase)


def test_words_that_share_a_hash_stay_apart(monkeypatch, tmp_path):
    """Every word has the same hash: they differ in their letters, in their length, in nothing."""
    rng = np.random.default_rng(0)
    some = ["".join(rng.choice(list("ab"), rng.integers(1, 6))) for _ in range(300)]
    clashing = Path(scan.__file__).with_name("text_kernels.py").read_text().replace("1099511628211  #", "0  #")
    assert clashing.count(" 0  #") == 1
    (tmp_path / "clashing.py").write_text(clashing)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(scan, "KERNELS", Kernels("clashing"))
    check([[" ".join(some), " ".join(f"é{word}" for word in some[:50])]], True)


def test_a_word_may_be_as_long_as_the_text():
    long = "a" * 300_000
    check([[f"{long} b", f"{long}é {long}b c {long}"], [long.upper()]], True)


def test_a_sentence_without_words_is_empty():
    kernel = Words(lowercase=True)
    ids, lengths = kernel(b"\n...\na\n")
    assert ids.tolist() == [0] and lengths.tolist() == [0, 0, 1]
    assert kernel(b"")[0].tolist() == [] and kernel(b"")[1].tolist() == []
