"""The call that a provenance describes, for a stage that may be run again.

A file's provenance is untrusted data. It becomes a call only of a function that writes an artefact, and only with what
that function itself records: its inputs (the parameters that are paths) and its options (all others but the *how*),
each of its parameter's type. Everything else is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import nlpkit
from nlpkit.artifact import recorded
from nlpkit.base.errors import CheckFailed, UserError, choose
from nlpkit.base.limits import MAX_INTEGER


@dataclass(frozen=True)
class Stage:
    """A function that writes an artefact, and the types of what it records."""

    command: str
    function: Callable[..., Any]
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    how: frozenset[str]
    needed: frozenset[str]

    def takes_several(self, role: str) -> bool:
        """Whether an input is a list of files."""
        return any(get_origin(kind) is Sequence for kind in _members(self.inputs[role]))


def stage_of(command: str) -> Stage:
    """The stage behind a command. Errors: an unknown command, or one that writes no artefact."""
    known = {name: nlpkit.FUNCTIONS[name] for name in nlpkit.MAKES}
    module, name = choose(known, command, field="stage").split(":")
    function = getattr(import_module(module), name)
    types = get_type_hints(function)
    parameters = inspect.signature(function).parameters
    inputs = {name: types[name] for name in parameters if name not in recorded.HOW and _is_path(types[name])}
    options = {name: types[name] for name in parameters if name not in recorded.HOW and name not in inputs}
    # An input that may be left out has the default None; another default, as stdin, is the command line's.
    must = {name for name, item in parameters.items() if item.default is item.empty}
    needed = must | {name for name in inputs if parameters[name].default is not None}
    return Stage(command, function, inputs, options, recorded.HOW & set(parameters), frozenset(needed))


def arguments(
    stage: Stage, record: Mapping[str, Any], find: Callable[[Mapping[str, Any]], Path], *, where: str
) -> dict[str, Any]:
    """The arguments of a stage: the recorded options, and its inputs, for each of which ``find`` returns a path after
    all checks.

    Errors: CheckFailed for an option that this nlpkit's stage does not have; UserError for a value that is not of the
    option's type, an input that is none of the stage's, one too many, and one that is missing.
    """

    def bad(what: str) -> UserError:
        return UserError(
            f"its {stage.command} records {what}",
            where=where,
            hint="nlpkit writes no such file; it was changed, and is not to be trusted",
        )

    values: dict[str, Any] = {}
    for name, value in record.get("options", {}).items():
        if name in stage.inputs or name in recorded.HOW:
            raise bad(f'the option "{name}", which is none')
        if name not in stage.options:
            raise CheckFailed(
                f"{stage.command} records the option {name}, which this nlpkit's {stage.command} does not have"
            )
        if not recorded.is_plain(value) or not fits(value, stage.options[name]):
            raise bad(f"{name} = {ascii(value)[:80]}, which it does not take")
        values[name] = value
    inputs = record.get("inputs", [])
    roles = [item["role"] for item in inputs]
    for role in roles:
        if role not in stage.inputs:
            raise bad(f"an input in the role {role}, which it does not read")
        if roles.count(role) > 1 and not stage.takes_several(role):
            raise bad(f"several inputs in the role {role}, of which it reads one")
    if missing := stage.needed - {"output", *values, *roles}:
        raise bad(f"no {min(missing)}, which it needs")
    for role, path in [(item["role"], find(item)) for item in inputs]:
        values[role] = [*values.get(role, []), path] if stage.takes_several(role) else path
    return values


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a parameter's type."""
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, member) for member in get_args(kind))
    if get_origin(kind) in (Sequence, list, tuple):
        inner = get_args(kind)[0]
        return isinstance(value, list) and all(fits(item, inner) for item in value)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if kind is float:
        return type(value) in (int, float)
    if kind is int:
        return type(value) is int and abs(value) <= MAX_INTEGER
    return kind in (bool, str) and type(value) is kind


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_path(kind: Any) -> bool:
    """Whether a parameter is a file or a list of files."""
    return any(member is Path or Path in get_args(member) for member in _members(kind))
