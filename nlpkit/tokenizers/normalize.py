"""BERT's basic tokenisation (Devlin et al. 2019, their code's BasicTokenizer): clean, lower-case, strip accents,
isolate Chinese characters, split at white space and punctuation.

Equal to the tokenizers library's BertNormalizer and BertPreTokenizer; tests/tokenizers holds the two together.
"""

from __future__ import annotations

import re
import unicodedata

import regex

from nlpkit.tokenizers import unicode8
from nlpkit.tokenizers.steps import lowercase


def _switched(today: str, other: frozenset[str]) -> str:
    """A character class: ``today``'s, with the characters of ``other`` put the other way."""
    now = regex.compile(f"[{today}]")
    added = "".join(regex.escape(item) for item in sorted(other) if not now.match(item))
    removed = "".join(regex.escape(item) for item in sorted(other) if now.match(item))
    return f"[[{today}{added}]--[{removed}]]" if removed else f"[{today}{added}]"


# ASCII that is neither letter, digit nor space counts as punctuation, as in BERT's code, and so does Unicode's.
_PUNCTUATION = _switched(r"!-/:-@\[-`\{-\~\p{P}", unicode8.PUNCTUATION)
# Control, format and private characters go; tab, newline and return become spaces.
_CONTROL_CLASS = _switched(r"\p{Cc}\p{Cf}\p{Co}", unicode8.CONTROL)
_CONTROL = regex.compile(rf"[\x00\uFFFD]|[{_CONTROL_CLASS}--[\t\n\r]]", regex.VERSION1)
_MARKS = regex.compile(_switched(r"\p{Mn}", unicode8.MARKS) + "+", regex.VERSION1)
_SPACE = regex.compile(r"[\p{White_Space}]")
_CHINESE = regex.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f])"
)
_WORD = regex.compile(rf"{_PUNCTUATION}|[^{_PUNCTUATION}\p{{White_Space}}]+", regex.VERSION1)
_ASCII_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~\s]+")


def clean(text: str) -> str:
    """Without control characters, every white space a plain space."""
    if text.isascii() and text.isprintable():
        return text
    return _SPACE.sub(" ", _CONTROL.sub("", text))


def normalize(text: str, *, lower: bool) -> str:
    """What BertNormalizer does; ``lower`` lower-cases and strips accents."""
    text = clean(text)
    if not text.isascii():
        text = _CHINESE.sub(r" \1 ", text)
        if lower:
            text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return lowercase(text) if lower else text


def basic_words(text: str, *, lower: bool) -> list[str]:
    """The words of a text: runs of letters and digits, and single punctuation marks."""
    text = normalize(text, lower=lower)
    words: list[str] = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    return words
