"""HTML and SVG that cannot be broken by what is in a file: text is escaped unless this module made it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

# What XML 1.0 (section 2.2) and HTML have no character for; a lone surrogate cannot be written as UTF-8 either.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Characters that change the direction of the text after them: with them a name could reorder its line.
_BIDIRECTIONAL = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
VOID = frozenset({"input", "meta", "br"})


class Markup(str):
    """Text that is markup already."""


def text(value: object) -> Markup:
    """Any value as escaped text. Control characters and characters that change the direction become U+FFFD."""
    if isinstance(value, Markup):
        return value
    return Markup(escape(_BIDIRECTIONAL.sub("\ufffd", _UNFIT.sub("\ufffd", str(value))), quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. An attribute that is None or False is left out, True stands without a value; ``class_`` is class,
    and other ``_`` in names are hyphens."""
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{text(value)}"')
    head = f"<{name}{''.join(written)}>"
    return Markup(head if name in VOID else f"{head}{join(children)}</{name}>")


def join(children: Any, between: str = "") -> Markup:
    """Several values one after the other."""
    return Markup(between.join(text(child) for child in children))


def data(value: Any) -> Markup:
    """JSON that may stand inside a script element: no text in it can end the element or begin a comment."""
    written = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def table(
    head: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str, class_: str | None = None
) -> Markup:
    """A table whose first column names its rows, in a frame that scrolls on a narrow page and can be focused.
    Numbers and the heads above them are aligned right. A cell that is a td already is used as it is."""
    hidden = class_ == "plain"  # a heading above says the same
    right = [any(_is_number(row[column]) for row in rows) for column in range(len(head))]
    top = [tag("th", cell, scope="col", class_="number" if right[column] else None) for column, cell in enumerate(head)]
    body = [tag("tr", tag("th", row[0], scope="row"), *(_cell(cell) for cell in row[1:])) for row in rows]
    element = tag(
        "table",
        tag("caption", caption, class_="unseen" if hidden else None),
        tag("thead", tag("tr", *top)),
        tag("tbody", *body),
        class_=class_,
    )
    return tag("div", element, class_="scroll", role="group", aria_label=caption, tabindex="0")


def _cell(value: object) -> Markup:
    if isinstance(value, Markup) and value.startswith("<td"):
        return value
    return tag("td", value, class_="number" if _is_number(value) else None)


def _is_number(value: object) -> bool:
    return bool(_NUMBER.fullmatch(str(value))) or (isinstance(value, Markup) and value.startswith('<td class="number'))


_NUMBER = re.compile(r"[-−]?[\d,]+(?:\.\d+)?(?:e[-+]?\d+)?")
