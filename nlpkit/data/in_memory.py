"""Texts in memory, as the rows that a file of them would give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from nlpkit.base.errors import UserError
from nlpkit.data.readers import Row

# Texts, or pairs of texts: a list, a column of a data frame, a generator.
Texts = Iterable[str] | Iterable[tuple[str, str]]


def rows(texts: Texts, *, pairs: bool) -> Iterator[Row]:
    """A row for each text: ``text``, and ``pair`` where there are pairs. Errors: UserError with the index of
    an item that is no text, or no pair of texts."""
    if isinstance(texts, (str, bytes)):
        raise UserError("one text came, expected a list of texts", hint="[text] is a list of one")
    if isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):  # its keys, or no order to answer in
        raise UserError(f"a {type(texts).__name__} came, expected a list of texts")
    for number, item in enumerate(texts):
        if not pairs:
            yield {"text": _text(item, f"texts[{number}]", expected="text")}
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            first, second = (_text(part, f"texts[{number}]", expected="two texts") for part in item)
            yield {"text": first, "pair": second}
        else:
            raise UserError(
                f"is a {type(item).__name__}, expected a pair of texts",
                where=f"texts[{number}]",
                hint="the model was trained on pairs: [(text, other), ...]",
            )


def _text(item: Any, where: str, *, expected: str) -> str:
    if not isinstance(item, str):
        hint = "the model was trained on single texts" if isinstance(item, (tuple, list)) else None
        raise UserError(f"is a {type(item).__name__}, expected {expected}", where=where, hint=hint)
    try:
        item.encode()
    except UnicodeEncodeError:
        raise UserError("holds half of a surrogate pair, which is no character", where=where) from None
    if "\0" in item:  # as in a file
        raise UserError("holds a NUL character", where=where)
    return str(item)
