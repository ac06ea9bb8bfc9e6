"""BPE and WordPiece: trainers against references, spellings against the tokenizers library, round trips."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.base.errors import UserError
from nlpkit.stages.tokenizer_train import TRAINERS, Options
from nlpkit.tokenizers import from_json
from nlpkit.tokenizers import normalize as normal
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.bpe_train import Joining
from nlpkit.tokenizers.counts import count_words
from nlpkit.tokenizers.pretokenize import gpt2_words, to_bytes, to_letters
from nlpkit.tokenizers.wordpiece import WordPiece
from nlpkit.tokenizers.wordpiece_train import learn_pieces, likelihood, ratio

tokenizers = pytest.importorskip("tokenizers")

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "the lazier dogs jumped over quicker foxes",
    "unhappy people are unlikely to be unhappier",
    "she sells sea shells by the sea shore, doesn't she?",
    "low lower lowest new newer newest wide wider widest",
    "naïve café Ångström 東京 中文字 1234 5678",
] * 3


def fit(kind: str, size: int, **options: object) -> Tokenizer:
    made = Options(
        **{"vocab_size": size, "min_count": 2, "lowercase": False, "byte_level": True, "score": "likelihood", **options}
    )
    return TRAINERS[kind].fit(count_words(SENTENCES, TRAINERS[kind].split(made), threads=1), made)


def fuzz(number: int, seed: int) -> list[str]:
    """Texts of letters, accents, Chinese, signs, white space, controls and emoji."""
    rng = random.Random(seed)
    pools = [
        "abcdefgh ",
        "ÀéîõüñçßŒæ",
        "中文字東京",
        " \t\n\u00a0\u2003\u3000",
        "!?.,;:-_'\"@#$%()[]{}",
        "0123456789",
        "\x00\x07\u200b\u200d\ufeff\ufffd",
        "😀👩\u200d👧🇫🇷",
        "Σςσ İıŞş",
        "e\u0301a\u0308",
        "กำ العربية עברית",
    ]
    return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(0, 40))) for _ in range(number)]


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("lower", "strip"),
    [
        (True, True),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
        (False, False),
    ],
)
def test_basic_tokenisation_equals_the_library_for_every_character(lower: bool, strip: bool) -> None:
    """S26. Characters that this Python's Unicode does not know yet may lower otherwise, and only those."""
    import unicodedata

    theirs = tokenizers.normalizers.BertNormalizer(lowercase=lower, strip_accents=strip)
    words = tokenizers.pre_tokenizers.BertPreTokenizer()

    def differs(text: str) -> bool:
        expected = theirs.normalize_str(text)
        split = [word for word, _ in words.pre_tokenize_str(expected)]
        return normal.normalize(text, lower=lower, strip=strip) != expected or normal._WORD.findall(expected) != split

    wrong = []
    for first in range(0, 0x110000, 256):  # many at once, and one by one where these differ
        characters = [chr(code) for code in range(first, first + 256) if not 0xD800 <= code <= 0xDFFF]
        if differs("".join(f"a{character}B" for character in characters)):
            wrong += [character for character in characters if differs(f"a{character}B")]
    unknown_here = [letter for letter in wrong if unicodedata.category(letter) == "Cn"]
    assert len(wrong) - len(unknown_here) <= 1, [hex(ord(letter)) for letter in wrong if letter not in unknown_here]
    assert len(unknown_here) < 100


@pytest.mark.oracle
@pytest.mark.parametrize(("lower", "strip"), [(True, True), (True, False), (False, True), (False, False)])
def test_basic_tokenisation_equals_the_library_on_fuzz(lower: bool, strip: bool) -> None:
    theirs = tokenizers.normalizers.BertNormalizer(lowercase=lower, strip_accents=strip)
    words = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in fuzz(2000, 1):
        expected = [word for word, _ in words.pre_tokenize_str(theirs.normalize_str(text))]
        assert normal.basic_words(text, lower=lower, strip=strip) == expected, repr(text)


@pytest.mark.oracle
def test_byte_level_words_equal_the_library() -> None:
    theirs = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in [*fuzz(2000, 2), "we'll they're I'm he'd it's don't 'tis", "a   b  \n\n  c   ", "\x1c\x85x\u2028y"]:
        expected = [word for word, _ in theirs.pre_tokenize_str(text)]
        assert [to_letters(word) for word in gpt2_words(text)] == expected, repr(text)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_every_text_survives_bytes(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert "".join(gpt2_words(text)) == text
    assert to_bytes(to_letters(text)) == text.encode()
    made = BYTES
    assert made.decode(made.encode(text).tolist()) == text


BYTES = fit("bpe", 320)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [300, 330, 360])
def test_byte_level_merges_equal_the_librarys_trainer(size: int) -> None:
    """S28, S31: the same merges, and so the same file as the library's stable trainer learns."""
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.train_from_iterator(
        SENTENCES,
        tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=list(dict.fromkeys(DEFAULT_SPECIAL.values())),
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    ours = fit("bpe", size)
    assert ours.ids == theirs.get_vocab()
    for text in [*SENTENCES, *fuzz(300, 3), "low" * 60, "e" * 200]:
        assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.oracle
def test_wordpiece_spells_as_the_library() -> None:
    ours = fit("wordpiece", 120, lowercase=True)
    model = tokenizers.models.WordPiece(ours.ids, unk_token="[UNK]", max_input_chars_per_word=100)
    theirs = tokenizers.Tokenizer(model)
    theirs.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in [*SENTENCES, *fuzz(500, 4), "unhappy lowest", "a" * 100, "a" * 101]:
        assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids, repr(text)


def test_wordpiece_takes_the_longest_piece_first() -> None:
    special = list(dict.fromkeys(DEFAULT_SPECIAL.values()))
    made = WordPiece([*special, "un", "u", "##n", "##happy", "##h", "happy"], DEFAULT_SPECIAL)
    assert [made.pieces[number] for number in made.encode("unhappy happy unx")] == ["un", "##happy", "happy", "[UNK]"]
    assert made.decode(made.encode("Unhappy HAPPY").tolist()) == "unhappy happy"
    assert made.encode("[MASK]").tolist() == [made.ids["[UNK]"]] * 3  # a special piece in a text is text


@pytest.mark.parametrize("score", ["likelihood", "ratio"])
@pytest.mark.parametrize("seed", range(5))
def test_learning_by_likelihood_equals_an_exhaustive_reference(score: str, seed: int) -> None:
    """S27, U2: each join is the best of all, when everything is counted anew before it."""
    rng = random.Random(seed)
    counts = {"".join(rng.choice("abcd") for _ in range(rng.randint(1, 7))): rng.randint(1, 9) for _ in range(40)}
    spelled = {(word[0], *("##" + letter for letter in word[1:])): count for word, count in sorted(counts.items())}
    letters = sorted({letter for word in spelled for letter in word})
    pieces = list(letters)
    learn_pieces(spelled, pieces, len(letters) + 25, min_count=2, score=score, join=Joining("##"))
    assert len(pieces) > len(letters) + 10

    words = {word: list(word) for word in spelled}
    for piece in pieces[len(letters) :]:
        uses: dict[str, int] = {}
        pairs: dict[tuple[str, str], int] = {}
        for word, symbols in words.items():
            for symbol in symbols:
                uses[symbol] = uses.get(symbol, 0) + spelled[word]
            for pair in pairwise(symbols):
                pairs[pair] = pairs.get(pair, 0) + spelled[word]
        value = {"likelihood": likelihood, "ratio": ratio}[score]
        scores = {
            pair: float(
                value(
                    np.array([n]),
                    np.array([uses[pair[0]]]),
                    np.array([uses[pair[1]]]),
                    np.array([pair[0] == pair[1]]),
                    sum(uses.values()),
                )[0]
            )
            for pair, n in pairs.items()
            if n >= 2
        }
        best = max(scores.values())
        taken = [pair for pair in scores if pair[0] + pair[1].removeprefix("##") == piece]
        chosen = max(taken, key=lambda pair: scores[pair])
        assert scores[chosen] == pytest.approx(best, rel=1e-9)
        for symbols in words.values():
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == chosen:
                    symbols[place : place + 2] = [piece]
                place += 1


def test_the_likelihood_formula_is_the_change_of_the_likelihood() -> None:
    """Of a text where a and b never overlap, counted before and after the join."""

    def log_likelihood(uses: list[int]) -> float:
        total = sum(uses)
        return sum(n * np.log(n / total) for n in uses if n)

    before, after = log_likelihood([10, 7, 20]), log_likelihood([6, 3, 20, 4])
    found = likelihood(np.array([4]), np.array([10]), np.array([7]), np.array([False]), 37)[0]
    assert found == pytest.approx(after - before)


def test_three_scores_learn_three_vocabularies() -> None:
    """E9: what the library calls WordPiece is frequency; likelihood is another thing."""
    found = {score: tuple(fit("wordpiece", 110, score=score).pieces) for score in ("likelihood", "ratio", "frequency")}
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char", "unigram"])
def test_a_tokenizer_comes_back_from_its_json(kind: str) -> None:
    made = fit(kind, 400)
    again = from_json(made.to_json())
    assert again.fingerprint == made.fingerprint and type(again) is type(made)
    for text in [*SENTENCES, *fuzz(50, 5)]:
        assert again.encode(text).tolist() == made.encode(text).tolist()
        assert made.encode(text).dtype == np.int32


def test_characters_with_an_end_of_word() -> None:
    made = fit("bpe", 150, byte_level=False, lowercase=True)
    text = "the newest lazy dog"
    assert made.decode(made.encode(text).tolist()) == text
    assert made.encode("%").tolist() == [made.ids["[UNK]"]]


def test_a_long_word_takes_no_square_of_time() -> None:
    assert len(BYTES.encode("ab" * 500_000)) > 100_000


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BPE(["a"], {}, [["a", "b"]]), 'needs the piece "b"'),
        (lambda: BPE(["a"], {}, [], True, True), "no lower-casing"),
        (lambda: WordPiece(["a"], {}), "unknown words"),
        (lambda: from_json({"kind": "wordpeice"}), 'did you mean "wordpiece"'),
        (lambda: from_json({"kind": "bpe", "pieces": []}), "does not describe"),
        (lambda: fit("bpe", 100), "too small for 256 bytes"),
        (lambda: fit("bpe", 400, lowercase=True), "no-byte-level"),
    ],
)
def test_what_is_refused(make: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()  # type: ignore[operator]
