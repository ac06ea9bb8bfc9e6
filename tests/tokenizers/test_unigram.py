"""Unigram: the lattice against brute force, the trainer's promises, segmentation against the tokenizers library."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit import tokenizers
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.tokenizers.lattice import Lattice, Texts
from nlpkit.tokenizers.unigram import SPACE, Unigram, words
from nlpkit.tokenizers.unigram_train import GRID, fit, segments, train

WORDS = """low lower lowest new newer newest wide wider widest slow slower slowest snow snowed show showed showing
knowing known unknown flowing flower flowers power powers powerful"""
COUNTS = {SPACE + word: 3 + 7 * index % 11 for index, word in enumerate(WORDS.split())}


def spellings(text: str, pieces: list[str]) -> list[list[int]]:
    if not text:
        return [[]]
    return [
        [number, *rest]
        for number, piece in enumerate(pieces)
        if text.startswith(piece)
        for rest in spellings(text[len(piece) :], pieces)
    ]


def example_lattice() -> tuple[list[str], list[str], np.ndarray, np.ndarray, Lattice]:
    texts = sorted(["abcab", "bcb", "aaaa", "cab", "b"], key=lambda text: -len(text))
    pieces = ["a", "b", "c", "ab", "bc", "abc", "ca", "aa", "aaa", "cab"]
    scores = np.log(np.arange(1, len(pieces) + 1) / 55.0)
    return texts, pieces, scores, np.array([2.0, 1.0, 5.0, 3.0, 4.0]), Lattice.of(Texts.of(texts), pieces)


def test_expected_uses_are_those_of_all_spellings() -> None:
    texts, pieces, scores, weight, lattice = example_lattice()
    uses, likelihood = np.zeros(len(pieces)), 0.0
    for text, times in zip(texts, weight, strict=True):
        ways = spellings(text, pieces)
        chances = np.array([math.exp(scores[way].sum()) for way in ways])
        likelihood += times * math.log(chances.sum())
        for way, chance in zip(ways, chances / chances.sum(), strict=True):
            np.add.at(uses, way, times * chance)
    found, value = lattice.expected(scores, weight)
    np.testing.assert_allclose(found, uses, rtol=1e-12)
    assert value == pytest.approx(likelihood, rel=1e-12)


def test_best_paths_are_the_best_of_all_spellings() -> None:
    texts, pieces, scores, _, lattice = example_lattice()
    reach, by = lattice.best(scores)
    paths: list[list[int]] = [[] for _ in texts]
    for number, piece in lattice.paths(by):
        for index, one in zip(number.tolist(), piece.tolist(), strict=True):
            paths[index].insert(0, one)
    for index, text in enumerate(texts):
        best = max(scores[way].sum() for way in spellings(text, pieces))
        assert reach[lattice.last[index]] == pytest.approx(best)
        assert scores[paths[index]].sum() == pytest.approx(best)
        assert "".join(pieces[piece] for piece in paths[index]) == text


def test_em_raises_the_likelihood() -> None:
    _, _, scores, weight, lattice = example_lattice()
    before = -math.inf
    for _ in range(5):
        uses, value = lattice.expected(scores, weight)
        assert value > before
        before, scores = value, np.log(np.maximum(uses, 1e-12) / uses.sum())


def test_the_trainer_finds_the_pieces_of_the_words() -> None:
    pieces, scores = fit(COUNTS, 40)
    assert len(pieces) == len(scores) == 40
    assert set("".join(COUNTS)) <= set(pieces), "every character is a piece"
    assert {"▁new", "▁show", "▁power"} <= set(pieces)
    assert all(score * GRID == round(score * GRID) for score in scores), "scores lie on the grid"
    assert [-score for score in scores] == sorted(-score for score in scores), "most probable first"


def test_the_trainer_gives_what_there_is_when_there_is_too_little() -> None:
    assert fit({"a": 1}, 10)[0] == ["a"]
    pieces, _ = fit({"ab": 5, "cd": 1}, 100)
    assert set(pieces) == {"a", "b", "c", "d", "ab"}, '"cd" stands only once'


def test_the_order_of_the_counts_changes_nothing() -> None:
    assert fit(dict(reversed(COUNTS.items())), 40) == fit(COUNTS, 40)


def test_pieces_do_not_cross_letters_digits_and_signs() -> None:
    assert segments({"don't": 2, "3rd,": 1, "": 1}) == {
        "▁don": 2,
        "'": 2,
        "t": 2,
        "▁3": 1,
        "rd": 1,
        ",": 1,
        "▁": 1,
    }


def test_rare_characters_give_way_and_it_is_said() -> None:
    notes: list[str] = []
    with events.listen(lambda record: notes.append(record.get("text", ""))):
        made = train({"aaa": 9, "bbb": 8, "abz": 1, "ccc": 7}, 8, {"unk": "[UNK]"})
    assert made.vocab_size <= 8
    assert not {"c", "z"} & set(made.pieces) and {"▁", "a", "b"} <= set(made.pieces)
    assert any("2 rare characters" in text for text in notes)


def test_a_vocabulary_too_small_for_the_special_pieces_is_an_error() -> None:
    with pytest.raises(UserError, match="too small beside"):
        train({"a": 1}, 2, {"unk": "[UNK]"})


def test_json_is_the_whole_tokenizer() -> None:
    made = train({"low": 3, "lower": 2}, 20, {"unk": "[UNK]", "pad": "[PAD]"}, ["nfkc", "lowercase"])
    again = tokenizers.from_json(made.to_json())
    assert again.fingerprint == made.fingerprint
    assert again.encode("LOWER low").tolist() == made.encode("LOWER low").tolist()


PROGRAM = """
import hashlib, sys
from tests_counts import COUNTS
from nlpkit.tokenizers.unigram_train import fit
print(hashlib.sha256(repr(fit({word: COUNTS[word] for word in set(COUNTS)}, 60)).encode()).hexdigest())
"""


def test_processes_threads_and_hash_seeds_change_no_byte(tmp_path: object) -> None:
    (tmp_path / "tests_counts.py").write_text(f"COUNTS = {COUNTS!r}", "utf-8")  # type: ignore[operator]
    results = {hashlib.sha256(repr(fit(COUNTS, 60)).encode()).hexdigest()}
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", PROGRAM]
        results.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    assert len(results) == 1


@pytest.fixture(scope="module")
def trained() -> Unigram:
    pieces, scores = fit(COUNTS, 60)
    return Unigram(["[PAD]", "[UNK]", *pieces], [0.0, 0.0, *scores], {"pad": "[PAD]", "unk": "[UNK]"})


def test_text_comes_back_with_single_spaces(trained: Unigram) -> None:
    assert trained.decode(trained.encode("  known\tflowers \n snowed").tolist()) == "known flowers snowed"


def test_unknown_characters_are_one_unknown_piece(trained: Unigram) -> None:
    assert trained.encode("low€€€").tolist()[-1] == trained.role("unk")
    assert trained.encode("€€€").tolist() == [trained.ids[SPACE], trained.role("unk")]


def test_a_special_piece_in_a_text_is_text(trained: Unigram) -> None:
    assert trained.role("pad") not in trained.encode("[PAD] low[PAD]").tolist()


def test_white_space_is_unicodes_not_pythons() -> None:
    assert words("a\x1cb\u3000c\x85d") == ["a\x1cb", "c", "d"]
    assert words("▁a b▁▁c") == ["a", "b", "", "c"]


def test_errors_are_for_people() -> None:
    with pytest.raises(UserError, match="2 pieces but 1 scores"):
        Unigram(["[UNK]", "a"], [0.0], {"unk": "[UNK]"})
    with pytest.raises(UserError, match="unknown characters"):
        Unigram(["a"], [0.0], {})


@pytest.mark.oracle
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_segmentation_equals_the_tokenizers_library(data: st.DataObject) -> None:
    """Random pieces and scores, ties and gaps in the alphabet included."""
    from tokenizers.models import Unigram as Reference

    pieces = data.draw(st.lists(st.text("abc▁é😀", min_size=1, max_size=5), min_size=1, max_size=25, unique=True))
    scores = data.draw(
        st.lists(
            st.one_of(st.integers(-12, -1).map(float), st.floats(-20, 0)), min_size=len(pieces), max_size=len(pieces)
        )
    )
    ours = Unigram(["[UNK]", *pieces], [0.0, *scores], {"unk": "[UNK]"})
    reference = Reference(list(zip(ours.pieces, ours.scores, strict=True)), unk_id=0, byte_fallback=False)
    for text in data.draw(st.lists(st.text("abcd▁é😀x", min_size=1, max_size=20), max_size=8)):
        assert ours.spell(text) == [token.id for token in reference.tokenize(text)]
