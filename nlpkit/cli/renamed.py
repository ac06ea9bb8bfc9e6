"""Renamed flags. The old name is accepted for one more version, as a flag, in NLPKIT_* and in TOML, with a message that
names the new one; help does not list it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# Command -> old option -> new option (as parameters: underscores).
RENAMED: dict[str, dict[str, str]] = {"generate": {"n": "samples"}}


def today(command: str, words: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """The words of a command line with old flags replaced by new ones; calls ``say`` for each."""
    flags = {_flag(old): _flag(new) for old, new in RENAMED.get(command, {}).items()}
    renamed: list[str] = []
    for number, word in enumerate(words):
        if word == "--":
            return [*renamed, *words[number:]]
        name, equals, value = word.partition("=")
        if name in flags:
            say(f"{name} is called {flags[name]} now; the next version forgets the old name")
            word = flags[name] + equals + value
        renamed.append(word)
    return renamed


def old_names(command: str, option: str) -> list[str]:
    """The old names of an option."""
    return [old for old, new in RENAMED.get(command, {}).items() if new == option]


def with_todays_names(command: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options by name, old names replaced."""
    names = RENAMED.get(command, {})
    return {names.get(name, name): value for name, value in options.items()}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
