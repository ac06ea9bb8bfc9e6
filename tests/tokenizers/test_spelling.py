"""How texts are cut into chunks, merged and remembered: fast ways against slow ones."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.tokenizers import merging, pretokenize, unigram
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.cache import Spellings, by_words, each
from nlpkit.tokenizers.merging import Merges
from nlpkit.tokenizers.rows import Rows

TEXT = st.text(
    st.one_of(
        st.sampled_from(" \n\t\r\x0b\x0c\x1c\x1f\x85\u00a0\u2028\u3000\u200b'!.,ab\u0301É中1²ΣσİI😀\u0e33\ufeff▁"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@given(TEXT)
@settings(max_examples=1000, deadline=None)
def test_words_of_chunks_are_the_words_of_the_text(text: str) -> None:
    for split, cut in (
        (pretokenize.gpt2_words, pretokenize.gpt2_chunks),
        (pretokenize.words_by(lower=True, strip=True), pretokenize.chunks),
        (pretokenize.words_by(lower=False, strip=False), pretokenize.chunks),
        (unigram.words, pretokenize.chunks),
    ):
        assert [word for chunk in cut(text) for word in split(chunk)] == split(text)


def test_every_white_space_is_cut_as_its_rule_says() -> None:
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()] + ["\u200b", "\u180e", "\ufeff"]
    for space in spaces:
        for text in (f"a{space}b", f"a {space}b", f"a{space} b", f"{space}{space}{space}a{space}", f"!{space}!"):
            test_words_of_chunks_are_the_words_of_the_text.hypothesis.inner_test(text)


def merged(word: list[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """Join the leftmost of the first-learnt pairs, again and again."""
    while True:
        found = [(*ranks[pair], place) for place, pair in enumerate(pairwise(word)) if pair in ranks]
        if not found:
            return word
        _, joined, place = min(found, key=lambda item: (item[0], item[2]))
        word = [*word[:place], joined, *word[place + 2 :]]


@pytest.mark.parametrize("short", [0, 3, 48])
@pytest.mark.parametrize("seed", range(10))
def test_merges_are_applied_one_after_the_other(seed: int, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SHORT", short)
    rng = random.Random(seed)
    learnt = [(rng.randrange(12), rng.randrange(12), rng.randrange(3, 12)) for _ in range(rng.randrange(30))]
    ranks = {(left, right): (rank, joined) for rank, (left, right, joined) in enumerate(learnt)}
    words = [[rng.randrange(12) for _ in range(rng.randint(1, 20))] for _ in range(200)]
    letters = Rows.of(np.array([letter for word in words for letter in word]), np.array([len(word) for word in words]))
    rows = Merges(learnt, 12).apply(letters)
    found = [rows.ids[begin : begin + size].tolist() for begin, size in zip(rows.begin, rows.size, strict=True)]
    assert found == [merged(word, ranks) for word in words]


def test_nothing_to_merge_and_nothing_to_spell() -> None:
    nothing = Rows.of(np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert Merges([], 3).apply(nothing).ids.tolist() == []
    assert Merges([], 3).apply(Rows.of(np.array([1, 2]), np.array([2]))).ids.tolist() == [1, 2]
    made = BPE([*DEFAULT_SPECIAL.values(), *pretokenize.BYTE_LETTERS], {}, [])
    assert made.encode_batch([]) == []
    assert [ids.tolist() for ids in made.encode_batch(["", "a", ""])] == [[], [made.ids["a"]], []]


@given(st.lists(st.text("ab ", max_size=12), max_size=12), st.integers(0, 40))
def test_what_is_forgotten_changes_nothing(texts: list[str], most: int) -> None:
    asked: list[str] = []

    def spell(word: str) -> list[int]:
        asked.append(word)
        return list(map(ord, word))

    spellings = Spellings(by_words(lambda chunk: list(chunk.replace("b", "bb")), each(spell)), most)
    for text in texts * 2:
        (ids,) = spellings.ids([text.split()])
        assert ids.tolist() == [ord(letter) for letter in text.replace("b", "bb") if letter != " "]
    if most == 40 and sum(map(len, texts)) < 10:
        assert len(asked) <= 3 * len({chunk for text in texts for chunk in text.split()})


def test_a_failed_spelling_is_tried_again() -> None:
    fails = [True]

    def spell(word: str) -> list[int]:
        if fails.pop():
            fails.append(False)
            raise KeyboardInterrupt
        fails.append(False)
        return [len(word)]

    spellings = Spellings(each(spell))
    with pytest.raises(KeyboardInterrupt):
        spellings.ids([["abc"]])
    assert [ids.tolist() for ids in spellings.ids([["ab"], ["abc", "ab"]])] == [[2], [3, 2]]
