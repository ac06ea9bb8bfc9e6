"""Whether a regular expression of a tokenizer.json is safe to run.

The library matches by backtracking: a repeated group that itself repeats, ``(a+)+``, takes time that doubles with each
letter. No published tokenizer needs one, so such patterns are refused.
"""

from __future__ import annotations

import re

from nlpkit.base.errors import UserError

_LONGEST = 10_000  # characters of a pattern
_TOKEN = re.compile(
    r"(?P<literal>\\.)|(?P<set>\[\^?\]?(?:\\.|\[:\w+:\]|\[(?:\\.|[^\]\\])*\]|[^\]\\])*\])|(?P<open>\((?:\?(?:<?[=!]|[a-z-]*:|>))?)"
    r"|(?P<close>\))|(?P<many>[*+]|\{\d*,\d*\})|(?P<other>.)",
    re.DOTALL,
)


def check_pattern(pattern: str) -> None:
    """Errors: UserError for a pattern that is too long, or repeats without bound what repeats without bound."""

    def bad(why: str) -> UserError:
        return UserError(f"its regular expression {pattern[:60]!r} {why}")

    if len(pattern) > _LONGEST:
        raise bad(f"has {len(pattern):,} characters, the limit is {_LONGEST:,}")
    repeats = [False]  # whether something repeats in each group that is open
    closed = False  # whether the last token closed a group in which something repeats
    for token in _TOKEN.finditer(pattern):
        if token.lastgroup == "open":
            repeats.append(False)
        elif token.lastgroup == "close" and len(repeats) > 1:
            closed = repeats.pop()
            repeats[-1] |= closed
            continue
        elif token.lastgroup == "many":
            if closed:
                raise bad("repeats a group that repeats, which can take time without end")
            repeats[-1] = True
        closed = False
