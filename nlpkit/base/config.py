"""Configuration files: TOML, strict.

A file holds a command's options by their flag names (``batch-tokens`` or ``batch_tokens``), at the top or in a table
named after the command (``[pretrain]``, ``[tokenizer.train]``), so that one file can hold a whole recipe.
Precedence: flag, environment (``NLPKIT_BATCH_TOKENS``), this file, default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nlpkit.base import small
from nlpkit.base.errors import UserError, unknown

ENVIRONMENT = "NLPKIT_"


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. Errors: a missing, unreadable or malformed file is a UserError with the line."""
    try:
        return tomllib.loads(small.read(path, small.CONFIG, pipes=True).decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", where=path) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"is not valid TOML: {error}", where=path) from None


def command_options(path: Path, command: str, flags: Collection[str], commands: Collection[str]) -> dict[str, Any]:
    """The options that a file sets for one command, keys with underscores.

    ``flags`` are the command's options (with underscores), ``commands`` all commands. Errors: an unknown key or table.
    """
    options: dict[str, Any] = {}
    content = read_toml(path)
    tables: dict[str, dict[str, Any]] = {}

    def walk(prefix: str, table: dict[str, Any]) -> None:
        values = {key: value for key, value in table.items() if not isinstance(value, dict)}
        if prefix and (values or prefix in commands):
            if prefix not in commands:
                raise unknown(prefix, commands, field="table", where=path)
            tables[prefix] = values
        for key, value in table.items():
            if isinstance(value, dict):
                name = f"{prefix} {key}".strip()
                if not any(known == name or known.startswith(name + " ") for known in commands):
                    raise unknown(name, commands, field="table", where=path)
                walk(name, value)

    walk("", content)
    top = {key: value for key, value in content.items() if not isinstance(value, dict)}
    for values in (top, tables.get(command, {})):
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in flags:
                shown = [flag.replace("_", "-") for flag in flags]
                raise unknown(key.replace("_", "-"), shown, field=f"option of {command}", where=path)
            options[name] = value
    return options


def unknown_environment(environment: Collection[str], flags: Collection[str]) -> UserError | None:
    """The error for a ``NLPKIT_*`` variable that no command reads; None when all are known."""
    known = {ENVIRONMENT + flag.upper() for flag in flags}
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT) and name not in known:
            similar = difflib.get_close_matches(name, sorted(known), n=5, cutoff=0.6)
            meant = f'; did you mean "{similar[0]}"?' if similar else ""
            return UserError(
                f'environment variable "{name}" is unknown{meant}',
                hint=(f"similar: {', '.join(similar)}; " if len(similar) > 1 else "")
                + f"{ENVIRONMENT} and the name of an option is valid: {ENVIRONMENT}BATCH_TOKENS for --batch-tokens",
            )
    return None
