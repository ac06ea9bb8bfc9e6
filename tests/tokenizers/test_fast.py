"""Compiled tokenizers give the ids of the others, to the last one, for any text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.machine import native
from nlpkit.tokenizers import fast, pretokenize
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.char import Character
from nlpkit.tokenizers.unigram import Unigram
from nlpkit.tokenizers.word import Word
from nlpkit.tokenizers.wordpiece import WordPiece

SPECIAL = list(DEFAULT_SPECIAL.values())[:5]
ROLES = {role: piece for role, piece in DEFAULT_SPECIAL.items() if piece in SPECIAL}
LETTERS = list("abcdefghijklmnopqrstuvwxyzABC0123.,'!`-éß中ı▁")


def pieces(rng: random.Random, count: int, letters: list[str] = LETTERS) -> list[str]:
    return list(dict.fromkeys("".join(rng.choices(letters, k=rng.randint(1, 4))) for _ in range(count)))


def wordpiece(*, lower: bool, strip: bool | None = None) -> Tokenizer:
    rng = random.Random(1)
    found = [*LETTERS, *pieces(rng, 300), *[f"##{piece}" for piece in [*LETTERS[:30], *pieces(rng, 300)]]]
    return WordPiece([*SPECIAL, *dict.fromkeys(found)], ROLES, lower, strip)


def merges(rng: random.Random, letters: list[str], count: int) -> tuple[list[str], list[tuple[str, str]]]:
    known, found = list(letters), []
    while len(found) < count:
        left, right = rng.choice(known), rng.choice(known)
        if left + right not in known and not left.endswith("</w>"):
            found.append((left, right))
            known.append(left + right)
    return known, found


def byte_bpe() -> Tokenizer:
    rng = random.Random(2)
    common = list("abcdefgh 'stmdrel01.")
    known, found = merges(rng, [pretokenize.to_letters(letter) for letter in common], 300)
    return BPE([*SPECIAL, *dict.fromkeys([*pretokenize.BYTE_LETTERS, *known])], ROLES, found)


def letter_bpe(*, lower: bool) -> Tokenizer:
    known, found = merges(random.Random(3), [*LETTERS, *[f"{letter}</w>" for letter in LETTERS]], 300)
    return BPE([*SPECIAL, *known], ROLES, found, False, lower)


def unigram(*steps: str) -> Tokenizer:
    rng = random.Random(4)
    found = list(dict.fromkeys([*LETTERS[:35], *pieces(rng, 400), *[f"▁{piece}" for piece in pieces(rng, 300)], "▁"]))
    scores = [0.0] * len(SPECIAL) + [-rng.choice([1.0, 2.0, 2.5, rng.random() * 9]) for _ in found]
    return Unigram([*SPECIAL, *found], scores, ROLES, steps)


def word(*, lower: bool) -> Tokenizer:
    return Word([*SPECIAL, *[piece for piece in pieces(random.Random(5), 500, LETTERS[:29]) if piece]], ROLES, lower)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "wordpiece lower": lambda: wordpiece(lower=True),
    "wordpiece lower with accents": lambda: wordpiece(lower=True, strip=False),
    "wordpiece cased": lambda: wordpiece(lower=False),
    "byte bpe": byte_bpe,
    "letter bpe lower": lambda: letter_bpe(lower=True),
    "letter bpe cased": lambda: letter_bpe(lower=False),
    "unigram": unigram,
    "unigram normalised": lambda: unigram("quotes", "nfkd", "strip_accents", "lowercase"),
    "word lower": lambda: word(lower=True),
    "word cased": lambda: word(lower=False),
}
TEXT = st.text(
    st.one_of(
        st.sampled_from(
            " \n\t\r\x0b\x0c\x1c\x1f\x7f\x01\x85\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\u200b'!.,`stdmr"
            "evlabAB019\u0301É中²ΣσİI😀\u0e33\ufeff▁"
        ),
        st.sampled_from("ab \n"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=60,
)


def hold(encoder: fast.Encoder, tokenizer: Tokenizer, text: str) -> None:
    """The ids, lengths, counts and ends of documents of a text are those that Python finds."""
    found = encoder.encode(f"{text}\n".encode())
    lines = [line.strip() for line in f"{text}\n".split("\n")[:-1]]
    sentences = [line for line in lines if line]
    expected = tokenizer.encode_batch(sentences)
    assert found.lengths.tolist() == [len(ids) for ids in expected], repr(text)
    assert found.ids.tolist() == [number for ids in expected for number in ids.tolist()], repr(text)
    assert found.words == sum(len(line.split()) for line in sentences)
    assert found.bytes == sum(len(line.encode()) for line in sentences)
    ends = [sum(map(bool, lines[:place])) for place, line in enumerate(lines) if not line]
    assert found.documents.tolist() == list(dict.fromkeys(ends))


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_ids_are_the_ids(kind: str) -> None:
    tokenizer = KINDS[kind]()
    plan = tokenizer.plan()
    assert plan is not None and fast.usable(compile=True)
    remembers, forgets = fast.Encoder(plan), fast.Encoder(plan, most=20)

    @given(TEXT)
    @settings(max_examples=150, deadline=None)
    def check(text: str) -> None:
        hold(remembers, tokenizer, text)
        hold(forgets, tokenizer, text)

    check()
    rng = random.Random(6)
    for _ in range(30):  # long ones of few words, so that most are known; and words of any length
        words = [
            "".join(rng.choices("abcdefgh'.,0", k=rng.choice([1, 3, 7, 99, 100, 101, 256, 257, 900])))
            for _ in range(20)
        ]
        hold(remembers, tokenizer, "".join(rng.choice(words) + rng.choice([" ", "\n", "\n\n"]) for _ in range(300)))
    codes = [*range(1, 0x180), *(code for code in range(0x180, 0x3100) if chr(code).isspace() or code % 50 == 0)]
    hold(remembers, tokenizer, "\n".join(f"a{chr(code)}b {chr(code)} {chr(code)}" for code in codes))


def test_a_text_that_was_interrupted_is_forgotten() -> None:
    tokenizer = byte_bpe()
    plan = tokenizer.plan()
    assert plan is not None
    encoder = fast.Encoder(plan)
    spell, encoder._python = encoder._python, lambda chunks: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode("abc é\n".encode())
    encoder._python = spell
    hold(encoder, tokenizer, "abc é")


def test_characters_have_no_compiled_code() -> None:
    assert Character([*SPECIAL, "a"], ROLES).plan() is None


def test_where_nothing_is_compiled_python_spells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast.usable(compile=True) and fast.usable(compile=False)
    monkeypatch.setattr(native, "_find", lambda module: None)
    assert not fast.usable(compile=False)
