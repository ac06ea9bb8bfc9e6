"""BERT's basic tokenisation (Devlin et al. 2019, their code's BasicTokenizer): clean, lower-case, strip accents,
isolate Chinese characters, split at white space and punctuation.

Equal to the tokenizers library's BertNormalizer and BertPreTokenizer; tests/tokenizers holds the two together.
"""

from __future__ import annotations

import re
import unicodedata

from nlpkit.tokenizers import classes
from nlpkit.tokenizers.steps import lowercase

_CONTROL = re.compile(f"[{classes.CONTROL}]+")
_MARKS = re.compile(f"[{classes.MARKS}]+")
_SPACE = re.compile(r"\s")  # what Python alone takes for space is a control character, and gone by then
_CHINESE = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f])"
)
_WORD = re.compile(rf"[{classes.PUNCTUATION}]|[^{classes.PUNCTUATION}\s]+")


def clean(text: str) -> str:
    """Without control characters, every white space a plain space."""
    if text.isascii() and text.isprintable():
        return text
    return _SPACE.sub(" ", _CONTROL.sub("", text))


def normalize(text: str, *, lower: bool, strip: bool = False) -> str:
    """What BertNormalizer does; ``lower`` lower-cases, ``strip`` drops accents (Unicode's non-spacing marks: in Indic
    scripts the signs of vowels too)."""
    text = clean(text)
    if not text.isascii():
        text = _CHINESE.sub(r" \1 ", text)
        if strip:
            text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return lowercase(text) if lower else text


def basic_words(text: str, *, lower: bool, strip: bool = False) -> list[str]:
    """The words of a text: runs of letters and digits, and single punctuation marks."""
    text = normalize(text, lower=lower, strip=strip)
    return [text] if text.isascii() and text.isalnum() else _WORD.findall(text)
