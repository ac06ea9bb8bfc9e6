"""Small normalisations of text, by name, each equal to the tokenizers library's of the same name.

A tokenizer that normalises names its steps in order, so that any chain a Hugging Face file describes with them
can be read and written. The library's tables are those of Unicode 11, Python's are newer: the characters that have a
decomposition since then are left as they are, as the library leaves them. Deviation: so is a character younger than
this Python's tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from nlpkit.base.errors import choose
from nlpkit.tokenizers import classes

_MARKS = re.compile(f"[{classes.COMBINING}]+")
# Characters with a decomposition that came after Unicode 11. Each is a starter that composes with nothing, so that the
# text on either side of it is normalised by itself.
_YOUNGER = re.compile(
    "([\u32ff\ua7f2-\ua7f4\uab69\U00010781-\U00010785\U00010787-\U000107b0\U000107b2-\U000107ba\U00011938"
    "\U0001f16c\U0001fbf0-\U0001fbf9])"
)


def _normalize(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """A Unicode normal form, by the library's tables."""
    if text.isascii():
        return text
    parts = _YOUNGER.split(text)  # every other part is one of these characters
    parts[::2] = [unicodedata.normalize(form, part) for part in parts[::2]]
    return "".join(parts)


def lowercase(text: str) -> str:
    """Each character by itself: a final sigma stays σ, unlike ``str.lower``."""
    return "".join(character.lower() for character in text) if "Σ" in text else text.lower()


def strip_accents(text: str) -> str:
    """Drop combining marks; after "nfd" or "nfkd" these are the accents."""
    return text if text.isascii() else _MARKS.sub("", text)


def quotes(text: str) -> str:
    """`` and '' become ", as ALBERT and XLNet read them."""
    return text.replace("``", '"').replace("''", '"')


STEPS: dict[str, Callable[[str], str]] = {
    "nfc": partial(_normalize, "NFC"),
    "nfd": partial(_normalize, "NFD"),
    "nfkc": partial(_normalize, "NFKC"),
    "nfkd": partial(_normalize, "NFKD"),
    "strip_accents": strip_accents,
    "lowercase": lowercase,
    "quotes": quotes,
}


def chain(names: Sequence[str]) -> Callable[[str], str]:
    """One function that takes the named steps in order. Errors: an unknown name."""
    steps = [choose(STEPS, name, field="normalisation") for name in names]

    def run(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return run
