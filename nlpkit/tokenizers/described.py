"""What the JSON of a tokenizer must be, checked before a tokenizer is made of it: it may come from anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpkit.artifact import schema
from nlpkit.base.errors import UserError


def _list_of(what: str, right: Any) -> schema.Check:
    return lambda value: None if isinstance(value, list) and all(map(right, value)) else f"a list of {what}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


FIELDS: dict[str, schema.Check] = {
    "pieces": _list_of("texts", _is_text),
    "merges": _list_of("pairs of texts", _is_pair),
    "scores": _list_of("numbers", lambda item: schema.number()(item) is None),
    "special": lambda value: (
        None if isinstance(value, dict) and all(map(_is_text, value.values())) else "texts by role"
    ),
    "chat_template": lambda value: None,  # text or list, kept as it came
    "steps": _list_of("texts", _is_text),
}


def check(value: Any) -> Mapping[str, Any]:
    """The JSON of a tokenizer, as it came. Errors: a field that is not of its type, a special piece that is none of the
    pieces, lists whose lengths do not agree."""
    if not isinstance(value, dict):
        raise bad("is not an object")
    whole = isinstance(value.get("document"), str)  # another tool's file, whose pieces its own reader checks
    for name in ("special",) if whole else ("pieces", "special"):
        if name not in value:
            raise bad(f'has no "{name}"')
    for name, content in value.items():
        expected = FIELDS[name](content) if name in FIELDS else _other(content)
        if expected:
            raise bad(f'has the "{name}" {ascii(content)[:60]}, expected {expected}')
    if whole:
        return value
    pieces, special = value["pieces"], value["special"]
    if not pieces:
        raise bad("has no pieces")
    known = set(pieces)
    for role, piece in special.items():
        if piece not in known:
            raise bad(f"has the special piece {role} {ascii(piece)[:60]}, which is none of its pieces")
    if "scores" in value and len(value["scores"]) != len(pieces):
        raise bad(f"has {len(pieces):,} pieces and {len(value['scores']):,} scores")
    return value


def _other(value: Any) -> str | None:
    """A field that belongs to one kind: a plain value."""
    plain = value is None or isinstance(value, (bool, str)) or schema.number()(value) is None
    return None if plain or FIELDS["steps"](value) is None else "a plain value"


def bad(what: str) -> UserError:
    return UserError(f"does not describe a tokenizer: it {what}", hint=schema.HINT)
