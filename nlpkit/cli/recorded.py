"""The recorded options of a command for display: those that differ from the defaults, and a command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpkit.cli.commands import COMMANDS
from nlpkit.cli.terminal import visible


def parameters(command: str) -> dict[str, Any]:
    """The parser's parameters of a command by name; empty for a command that this version does not have."""
    from nlpkit.cli.app import load

    return {str(param.name): param for param in load(command).params} if command in COMMANDS else {}


def options(command: str, recorded: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that differ from their defaults, and the others that are not None."""
    known = parameters(command)
    same = {name for name, value in recorded.items() if name in known and value == _default(known[name])}
    differing = {name: value for name, value in recorded.items() if name not in same and value is not None}
    return differing, {name: value for name, value in recorded.items() if name in same and value is not None}


def words(recorded: Mapping[str, Any]) -> str:
    """``lr=0.1 steps=100``."""
    return " ".join(f"{name.replace('_', '-')}={_word(value)}" for name, value in recorded.items())


def command_line(provenance: Mapping[str, Any], output: str) -> str:
    """The command, to paste into a shell: inputs (their ``path`` where it is known, else the name), ``-o`` and the
    options that differ from their defaults."""
    command = str(provenance.get("command"))
    known = parameters(command)
    differing, _ = options(command, provenance.get("options", {}))
    words_of_line = ["nlpkit", *(["--portable"] if provenance.get("portable") else []), *command.split()]
    inputs: dict[str, list[str]] = {}
    for item in provenance.get("inputs", ()):
        inputs.setdefault(item["role"], []).append(item.get("path") or item["name"])
    for name, param in known.items():
        if param.param_type_name == "argument":
            words_of_line += map(_path, inputs.pop(name, []))
    words_of_line += ["-o", _path(output)]
    for role, names in inputs.items():
        words_of_line += [word for name in names for word in (f"--{role.replace('_', '-')}", _path(name))]
    for name, value in differing.items():
        words_of_line += _flag(name, value, known.get(name))
    return " ".join(map(quoted, words_of_line))


def quoted(word: str) -> str:
    """A word quoted for a shell; control characters are written as $'...' escapes."""
    if visible(word) == word:
        return shlex.quote(word)
    return "$'" + visible(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def _flag(name: str, value: Any, param: Any) -> list[str]:
    """An option as it is typed."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        long = (
            [word for word in (param.opts if value else param.secondary_opts) if word.startswith("--")] if param else []
        )
        return [long[0] if long else flag if value else f"--no-{name.replace('_', '-')}"]
    if isinstance(value, list):
        return [word for item in value for word in (flag, _word(item))]
    return [flag, _word(value)]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path(name: str) -> str:
    """A file name that the parser cannot mistake for a flag."""
    return f"./{name}" if name.startswith("-") and name != "-" else name


def _default(param: Any) -> Any:
    default = param.default
    return str(default) if isinstance(default, Path) else list(default) if isinstance(default, tuple) else default
