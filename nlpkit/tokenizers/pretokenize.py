"""How a text becomes words before a vocabulary is applied: GPT-2's rule with its byte alphabet, or BERT's.

Chunks are what a text is cut into first, by the fastest means there is: the words of its chunks are the words of the
text. Texts repeat their chunks, so only new ones need the slow rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import regex

from nlpkit.tokenizers.normalize import basic_words

# Radford et al. 2019, section 2.2, their code's pattern; white space as Unicode says, as the tokenizers library does.
_GPT2 = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+"
    r"|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+"
)

# Control characters that are white space to Python but not to every rule: to BERT's these vanish, and the last four
# are ordinary signs to GPT-2's.
_ODD = re.compile("[\x0b\x0c\x85\x1c-\x1f]")
_GPT2_CHUNK = re.compile(r"[^\S\x1c-\x1f]*[\S\x1c-\x1f]+|[^\S\x1c-\x1f]+")


def chunks(text: str) -> list[str]:
    """Parts between white space, for kinds to which white space only separates."""
    return text.split() if text.isprintable() or not _ODD.search(text) else [text]


def gpt2_chunks(text: str) -> list[str]:
    """Parts that begin with white space, as far as there is some, and end before the next; together they are the
    text."""
    if text.isprintable() and "  " not in text:  # the space is the only printable white space
        return text.replace(" ", "\n ").split("\n")
    return _GPT2_CHUNK.findall(text)


def gpt2_words(text: str) -> list[str]:
    """The pieces of a text that no merge crosses; together they are the text."""
    words: list[str] = _GPT2.findall(text)
    return words


def words_by(*, lower: bool, strip: bool) -> Callable[[str], list[str]]:
    """What cuts a text into BERT's basic words, lower-cased or not, without accents or with them."""
    return partial(basic_words, lower=lower, strip=strip)


def _alphabet() -> list[str]:
    """A printable character for every byte: itself where it is printable, the next free ones from U+0100 otherwise
    (Radford et al. 2019, their code's bytes_to_unicode)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    letters, free = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printable else free))
        free += byte not in printable
    return letters


BYTE_LETTERS = _alphabet()
LETTER_BYTES = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}
_LATIN = str.maketrans({chr(byte): letter for byte, letter in enumerate(BYTE_LETTERS)})


def to_letters(text: str) -> str:
    """The UTF-8 bytes of a text, one printable character each."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1").translate(_LATIN)


def to_bytes(letters: str) -> bytes:
    """The way back."""
    return bytes(LETTER_BYTES[letter] for letter in letters)
