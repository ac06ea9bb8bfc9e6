"""Text that grows token by token: each part is returned as soon as it is certain.

A piece of a byte-level vocabulary may end within a character, and text that may be the beginning of a stop text must
not be shown before it is known not to be.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlpkit.tokenizers.base import Tokenizer

_HALF = "\ufffd"  # what a decoder writes for the bytes of a character that is not complete


class Growing:
    """The continuation of a text. `add` and `end` return parts that, joined, are what the tokens add to the text; each
    token is decoded with a few others only, so that a long text costs no more than a short one."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.near = list(prompt)  # the last tokens: enough for a piece to know what it follows
        self.known = len(self.near)  # how many of them end with a complete character
        self.shown = len(tokenizer.decode(self.near))  # characters of their text that were returned

    def add(self, token: int) -> str:
        """The text that is certain now and was not before."""
        self.near.append(token)
        text = self.tokenizer.decode(self.near)
        certain = text.removesuffix(_HALF)
        new = certain[self.shown :]
        self.shown = max(self.shown, len(certain))
        if new and len(certain) == len(text):
            self.near = self.near[self.known :]
            self.known = len(self.near)
            self.shown = len(self.tokenizer.decode(self.near))
        return new

    def end(self) -> str:
        """What is left when nothing follows: U+FFFD for half a character, as in any decoding."""
        return self.tokenizer.decode(self.near)[self.shown :]


def find_stop(text: str, stops: Sequence[str], start: int) -> int | None:
    """The offset of the first stop text that ends after ``start``; None when there is none."""
    offsets = [text.find(stop, max(0, start - len(stop) + 1)) for stop in stops]
    return min((offset for offset in offsets if offset >= 0), default=None)


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of a stop text."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest
