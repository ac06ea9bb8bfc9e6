"""The one way to a terminal. Names, labels and options come from files that anybody may have made; a terminal obeys
some characters instead of showing them (ESC, BEL, carriage return) and lets others turn a line around. They are shown
as escapes. Nothing else in this folder prints.

Lines for people are always escaped, wherever they go. Data is escaped on a terminal only and stays what it is in a
pipe. JSON says the same with or without escapes, and has them always.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nlpkit.base.canonical import strict

# Controls of C0 and C1, separators of lines, what turns the direction of text, byte order marks, invisible tags, half a
# surrogate pair. Joiners and direction marks, which scripts need, turn nothing and stay.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object, *, keep: str = "") -> str:
    """A text with what a terminal would obey as escapes; ``keep`` are characters to leave."""
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), str(text))


def _escaped(letter: str) -> str:
    number = ord(letter)
    form = f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return _SHORT.get(letter, form)


def tell(line: str = "") -> None:
    """One line for people, on stdout."""
    print(visible(line))


def say(line: str) -> None:
    """One line for people, on stderr. A stderr that is full, or that nobody reads any more, ends no run."""
    with suppress(OSError):
        print(visible(line), file=sys.stderr, flush=True)


def data(text: str, *, end: str = "\n", flush: bool = False) -> None:
    """Text that is a result, on stdout. Line ends and tabs are part of it."""
    print(visible(text, keep="\n\t") if sys.stdout.isatty() else text, end=end, flush=flush)


def record(value: Mapping[str, Any], *, indent: int | None = None, flush: bool = False) -> None:
    """One JSON object, on stdout."""
    print(to_json(value, indent=indent), flush=flush)


def to_json(value: Mapping[str, Any], *, indent: int | None = None) -> str:
    """JSON in which what a terminal would obey is escaped as JSON does it; its own line ends stay."""
    text = strict(value, indent=indent)
    return _OBEYED.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def flush() -> None:
    """Whoever waits for what was printed gets it now."""
    print(end="", flush=True)
