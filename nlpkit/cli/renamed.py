"""Flags that have a better name now. The old one is understood for one more version, by flag, NLPKIT_* and TOML, is
shown nowhere, and says what it is called today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# Command -> old option -> the option of today (as parameters: underscores).
RENAMED: dict[str, dict[str, str]] = {"generate": {"n": "samples"}}


def today(command: str, words: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """A command's words with today's flags in place of old ones; ``say`` hears of each."""
    flags = {_flag(old): _flag(new) for old, new in RENAMED.get(command, {}).items()}
    found: list[str] = []
    for number, word in enumerate(words):
        if word == "--":
            return [*found, *words[number:]]
        name, equals, value = word.partition("=")
        if name in flags:
            say(f"{name} is called {flags[name]} now; the next version forgets the old name")
            word = flags[name] + equals + value
        found.append(word)
    return found


def old_names(command: str, option: str) -> list[str]:
    """What an option was called."""
    return [old for old, new in RENAMED.get(command, {}).items() if new == option]


def with_todays_names(command: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options by name, old names replaced."""
    names = RENAMED.get(command, {})
    return {names.get(name, name): value for name, value in options.items()}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
