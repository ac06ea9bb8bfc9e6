"""Small normalisations of text, by name, each equal to the tokenizers library's of the same name.

A tokenizer that normalises names its steps in order, so that any chain a Hugging Face file describes with them
can be read and written. Deviation: the two libraries may know different versions of Unicode; characters younger than
this Python's tables are left as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial

from nlpkit.base.errors import choose
from nlpkit.tokenizers import classes

_MARKS = re.compile(f"[{classes.COMBINING}]+")


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
    "nfc": partial(unicodedata.normalize, "NFC"),
    "nfd": partial(unicodedata.normalize, "NFD"),
    "nfkc": partial(unicodedata.normalize, "NFKC"),
    "nfkd": partial(unicodedata.normalize, "NFKD"),
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
