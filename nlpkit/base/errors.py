"""Errors a person can act on.

An error says where, what came, what was expected and what to do. The command line prints it without a
traceback (``--debug`` shows one) and exits with ``exit_code``; in Python its text has all of it, the hint too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Wrong usage, configuration or input: exit code 2.

    ``what`` is one sentence: what came and what was expected. ``where`` is a file, ``file:line`` or an option.
    ``hint`` says what to do.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | PathLike[str] | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = str(where) if where is not None else None
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        """All three, as a notebook shows them."""
        said = f"{self.where}: {self.what}" if self.where else self.what
        return f"{said}\nhint: {self.hint}" if self.hint else said


class RunError(UserError):
    """The run itself failed (a full disk, a loss that is not a number): exit code 1."""

    exit_code = 1


class Diverged(RunError):
    """A loss or a gradient stopped being a number: a matter of the options, not of the machine."""


class CheckFailed(UserError):
    """A requested check failed (verify, diff, evaluate --min): exit code 3."""

    exit_code = 3


class Interrupted(UserError):
    """A person or a scheduler stopped the run (SIGINT, SIGTERM): exit code 130."""

    exit_code = 130


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name most similar to ``name``, or None when none is similar."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(name: str, names: Iterable[str], *, field: str, where: str | PathLike[str] | None = None) -> UserError:
    """The error for a name outside a known list: the one that it begins or the nearest first, then all of them."""
    valid = sorted(names)
    longer = [known for known in valid if len(name) > 1 and known.startswith(name)]
    guess = min(longer, key=len) if longer else nearest(name, valid)
    meant = f'; did you mean "{guess}"?' if guess else ""
    return UserError(f'{field} "{name}" is unknown{meant}', where=where, hint=f"valid: {', '.join(valid)}")


def choose(table: Mapping[str, T], name: str, *, field: str, where: str | PathLike[str] | None = None) -> T:
    """``table[name]``; an unknown name is a UserError that lists the valid ones."""
    if name not in table:
        raise unknown(name, table, field=field, where=where)
    return table[name]


def refuse(options: Mapping[str, object], why: str, *, hint: str | None = None) -> None:
    """Refuse options that would change nothing: a UserError that names those that are set (not None)."""
    names = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if names:
        verb = "changes" if len(names) == 1 else "change"
        raise UserError(f"{', '.join(names)} {verb} nothing: {why}", hint=hint or "leave it out")
