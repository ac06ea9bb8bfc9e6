"""What a provenance says of a command, for people: the options that differ from the defaults, and a command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpkit.cli.commands import COMMANDS
from nlpkit.cli.terminal import visible


def parameters(command: str) -> dict[str, Any]:
    """The parser's parameters of a command by name; none of one that this nlpkit does not know."""
    from nlpkit.cli.app import load

    return {str(param.name): param for param in load(command).params} if command in COMMANDS else {}


def options(command: str, told: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that differ from their defaults, and the others that say something."""
    known = parameters(command)
    same = {name for name, value in told.items() if name in known and value == _default(known[name])}
    differing = {name: value for name, value in told.items() if name not in same and value is not None}
    return differing, {name: value for name, value in told.items() if name in same and value is not None}


def words(told: Mapping[str, Any]) -> str:
    """``lr=0.1 steps=100``."""
    return " ".join(f"{name.replace('_', '-')}={_word(value)}" for name, value in told.items())


def command_line(provenance: Mapping[str, Any], output: str) -> str:
    """The command, ready to be pasted in a shell: inputs, ``-o`` and the options that differ from their defaults."""
    command = str(provenance.get("command"))
    known = parameters(command)
    differing, _ = options(command, provenance.get("options", {}))
    made = ["nlpkit", *command.split()]
    given: dict[str, list[str]] = {}
    for item in provenance.get("inputs", ()):
        given.setdefault(item["role"], []).append(item["name"])
    for name, param in known.items():
        if param.param_type_name == "argument":
            made += map(_path, given.pop(name, []))
    made += ["-o", _path(output)]
    for role, names in given.items():
        made += [word for name in names for word in (f"--{role.replace('_', '-')}", _path(name))]
    for name, value in differing.items():
        made += _flag(name, value, known.get(name))
    return " ".join(map(quoted, made))


def quoted(word: str) -> str:
    """A word for a shell; what a terminal would obey is written as the shell's own escapes."""
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
    """A file's name that is taken for no flag."""
    return f"./{name}" if name.startswith("-") and name != "-" else name


def _default(param: Any) -> Any:
    default = param.default
    return str(default) if isinstance(default, Path) else list(default) if isinstance(default, tuple) else default
