"""All printing. Names, labels and options come from files of any origin, and a terminal executes control characters
(ESC, BEL, carriage return) or reorders a line at others; they are printed as escapes. Nothing else in this package
prints.

Messages are always escaped. Data is escaped on a terminal only and unchanged in a pipe. JSON means the same with and
without escapes, and always has them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from nlpkit.base.canonical import strict

# C0 and C1 controls, line separators, bidirectional overrides, byte order marks, invisible tags, lone surrogates.
# Joiners and direction marks, which scripts need, override nothing and stay.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object, *, keep: str = "") -> str:
    """A text with control characters as escapes, except those in ``keep``."""
    return _CONTROLS.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), str(text))


def _escaped(letter: str) -> str:
    number = ord(letter)
    form = f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return _SHORT.get(letter, form)


def tell(line: str = "") -> None:
    """Print one line of a message on stdout."""
    print(visible(line))


def say(line: str) -> None:
    """Print one line of a message on stderr. A stderr that is full, or has no reader, does not end the run."""
    with suppress(OSError):
        print(visible(line), file=sys.stderr, flush=True)


Aside = Callable[[], AbstractContextManager[None]]
_aside: list[Aside] = [nullcontext]


def around_data(aside: Aside) -> Aside:
    """Enter ``aside()`` while data is written to a terminal, where a live line may stand; returns the one before."""
    before, _aside[0] = _aside[0], aside
    return before


def data(text: str, *, end: str = "\n", flush: bool = False) -> None:
    """Print text that is a result on stdout. Line ends and tabs are part of it."""
    if not sys.stdout.isatty():
        print(text, end=end, flush=flush)
        return
    with _aside[0]():
        print(visible(text, keep="\n\t"), end=end, flush=flush or _aside[0] is not nullcontext)


def record(value: Mapping[str, Any], *, indent: int | None = None, flush: bool = False) -> None:
    """Print one JSON object on stdout."""
    data(to_json(value, indent=indent), flush=flush)


def to_json(value: Mapping[str, Any], *, indent: int | None = None) -> str:
    """JSON with control characters as JSON escapes, except the line ends of its layout."""
    text = strict(value, indent=indent)
    return _CONTROLS.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)


def flush() -> None:
    """Flush stdout, for a reader that waits."""
    print(end="", flush=True)
