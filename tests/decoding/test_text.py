"""Text that grows: the parts joined are the text, and nothing is shown that is taken back."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from nlpkit.decoding.text import Growing, find_stop, held_back
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.char import Character
from nlpkit.tokenizers.pretokenize import BYTE_LETTERS
from nlpkit.tokenizers.unigram import Unigram
from nlpkit.tokenizers.wordpiece import WordPiece

SPECIAL = list(dict.fromkeys(DEFAULT_SPECIAL.values()))
BYTES = BPE([*SPECIAL, *BYTE_LETTERS, "th"], DEFAULT_SPECIAL, [("t", "h")])
TOKENIZERS: list[Tokenizer] = [
    BYTES,
    BPE([*SPECIAL, "a", "b", "a</w>", "b</w>", "ab</w>"], DEFAULT_SPECIAL, [("a", "b</w>")], byte_level=False),
    WordPiece([*SPECIAL, "a", "b", "##a", "##b", "abc", "."], DEFAULT_SPECIAL),
    Unigram([*SPECIAL, "▁", "a", "b", "▁a", "ab"], [-1.0] * (len(SPECIAL) + 5), DEFAULT_SPECIAL),
    Character([*SPECIAL, *"ab é\n"], DEFAULT_SPECIAL),
    toys.tokenizer(),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda made: type(made).__name__)
def test_the_parts_joined_are_what_the_tokens_add(tokenizer: Tokenizer) -> None:
    """Random ids, special ones and broken characters among them, after random prompts and none."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        ids = rng.integers(0, tokenizer.vocab_size, int(rng.integers(1, 30))).tolist()
        size = int(rng.integers(0, len(ids)))
        prompt = tokenizer.encode(tokenizer.decode(ids[:size]).replace("\ufffd", "")).tolist()
        growing = Growing(tokenizer, prompt)
        parts = [growing.add(token) for token in ids[size:]]
        parts.append(growing.end())
        whole, before = tokenizer.decode([*prompt, *ids[size:]]), tokenizer.decode(prompt)
        assert whole.startswith(before)
        assert "".join(parts) == whole[len(before) :]


def test_a_character_is_shown_when_it_is_complete() -> None:
    growing = Growing(BYTES, BYTES.encode("a").tolist())
    assert [growing.add(token) for token in BYTES.encode("é€😀!").tolist()] == [
        "",
        "é",
        "",
        "",
        "€",
        "",
        "",
        "",
        "😀",
        "!",
    ]
    assert growing.add(BYTES.encode("é").tolist()[0]) == "" and growing.end() == "\ufffd"


def test_a_long_text_is_not_decoded_again_for_each_token() -> None:
    growing = Growing(BYTES, BYTES.encode("a" * 1000).tolist())
    for token in BYTES.encode("the é" * 20).tolist():
        growing.add(token)
        assert len(growing.near) < 10 or growing.shown > 900


def test_where_a_stop_text_begins() -> None:
    assert find_stop("one two", ["two", "e t"], 0) == 2
    assert find_stop("one two", ["two"], 6) == 4, "it may have begun before what is new"
    assert find_stop("one two", ["one"], 5) is None
    assert find_stop("one two", ["three"], 0) is None


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    assert held_back("ab", ["bcd", "abx"]) == 2
    assert held_back("ab", ["bcd"]) == 1
    assert held_back("ab", ["cd"]) == 0 and held_back("", ["cd"]) == 0 and held_back("ab", []) == 0
