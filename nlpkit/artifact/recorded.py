"""A file's recorded provenance and history, checked before use: data, never instructions.

A provenance says which command made a file, with which options and inputs; a history holds those of the files behind
it, by sha256. Both may come from a stranger, so names are single path components, options are plain values that are
neither an input nor a *how*, and the files behind a file form an acyclic graph of limited size and depth.
`nlpkit.stages.call` checks again before a stage is re-run. See docs/security.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.base.errors import UserError

# Arguments of any stage that change no byte of its result; tests/bytes tests each of them.
HOW = frozenset(
    {
        "output",
        "threads",
        "parallel",
        "force",
        "fresh",
        "log",
        "log_every",
        "save_every",
        "memory_mb",
        "dry_run",
        "checkpointing",
    }
)
MAX_RECORDS = 2_000  # nlpkit files behind one file
MAX_INPUTS = 100_000  # files that all of them read, counted once for each reader
MAX_DEPTH = 200  # stages in a row
MAX_TEXT = 10_000  # characters of one option
MAX_NAME = 255  # bytes of a file name; no file system allows more

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_COMMAND = re.compile(r"[a-z][a-z0-9 _-]{0,99}")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DRIVE = re.compile(r"[A-Za-z]:")
_HINT = "nlpkit writes no such file; it was changed, and is not to be trusted"


def check(provenance: Any, history: Any, *, where: Path | None) -> None:
    """Check a file's provenance and history. Errors: a UserError that says what is wrong with which of the two."""
    for said, what in ((provenance, "provenance"), (history, "history")):
        if not isinstance(said, dict):
            raise _bad(f"its {what} is not an object", where)
    check_stage(provenance, "its provenance", where)
    for sha, record in history.items():
        if not _SHA256.fullmatch(sha):
            raise _bad(f"its history has {_shown(sha)}, expected a sha256", where)
        check_stage(record, f"its history of {sha[:16]}", where)
    if why := not_a_past(provenance, history):
        raise _bad(why, where)


def check_stage(record: Any, what: str, where: Path | None) -> None:
    """Check what is recorded of one stage: command, options, seed, inputs, versions. Absent fields are allowed."""
    if not isinstance(record, dict):
        raise _bad(f"{what} is not an object", where)
    command, seed = record.get("command"), record.get("seed")
    if "command" in record and not (isinstance(command, str) and _COMMAND.fullmatch(command)):
        raise _bad(f"{what} names the command {_shown(command)}", where)
    if command in nlpkit.FUNCTIONS and command not in nlpkit.MAKES:
        raise _bad(f"{what} names the command {command}, which makes no such file", where)
    if not (seed is None or (_is_number(seed) and isinstance(seed, int))):
        raise _bad(f"{what} has the seed {_shown(seed)}, expected an integer", where)
    if not isinstance(record.get("portable", False), bool):
        raise _bad(f"{what} says neither yes nor no to portable mode", where)
    roles = _check_inputs(record.get("inputs", []), what, where)
    options = record.get("options", {})
    if not isinstance(options, dict):
        raise _bad(f"{what} has options that are not an object", where)
    for name, value in options.items():
        if not _WORD.fullmatch(name):
            raise _bad(f"{what} has an option named {_shown(name)}", where)
        if name in HOW or name in roles:
            kind = "an input" if name in roles else "no option that a result depends on"
            raise _bad(f'{what} has the option "{name}", which is {kind}', where)
        if not is_plain(value):
            raise _bad(f'{what} gives the option "{name}" the value {_shown(value)}', where)
    versions = record.get("versions", {})
    named = isinstance(versions, dict) and all(map(_PACKAGE.fullmatch, versions))
    if not named or not all(isinstance(value, str) and len(value) <= 100 for value in versions.values()):
        raise _bad(f"{what} has versions that are not packages with their versions", where)


def _check_inputs(inputs: Any, what: str, where: Path | None) -> set[str]:
    """Check the inputs of a stage; returns their roles."""
    if not isinstance(inputs, list):
        raise _bad(f"{what} has inputs that are not a list", where)
    roles: set[str] = set()
    for item in inputs:
        if not isinstance(item, dict) or set(item) != {"role", "name", "sha256"}:
            raise _bad(f"{what} has an input without role, name and sha256, or with more", where)
        role, name, sha = item["role"], item["name"], item["sha256"]
        if not isinstance(role, str) or not _WORD.fullmatch(role) or role in HOW:
            raise _bad(f"{what} has an input in the role {_shown(role)}", where)
        if not isinstance(sha, str) or not _SHA256.fullmatch(sha):
            raise _bad(f"{what} has an input with the sha256 {_shown(sha)}", where)
        if why := not_a_name(name):
            raise _bad(f"{what} has an input named {_shown(name)}: a file name {why}", where)
        roles.add(role)
    return roles


def not_a_past(provenance: Mapping[str, Any], history: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why checked records cannot be the history of a file: a cycle, or more stages, stages in a row or inputs than the
    limits allow. None: they can."""
    if len(history) > MAX_RECORDS:
        return f"its history has {len(history):,} stages; {MAX_RECORDS:,} are allowed"
    total = sum(len(record.get("inputs", ())) for record in (provenance, *history.values()))
    if total > MAX_INPUTS:
        return f"its history names {total:,} inputs; {MAX_INPUTS:,} are allowed"
    behind = {
        sha: {source["sha256"] for source in record.get("inputs", ())} & history.keys()
        for sha, record in history.items()
    }
    users: dict[str, list[str]] = {}
    for sha, inputs in behind.items():
        for source in inputs:
            users.setdefault(source, []).append(sha)
    left = {sha: len(inputs) for sha, inputs in behind.items()}  # inputs whose depth is not known yet
    depth = {sha: 1 for sha, count in left.items() if count == 0}
    ready = list(depth)
    while ready:
        sha = ready.pop()
        for user in users.get(sha, ()):
            depth[user] = max(depth.get(user, 0), depth[sha] + 1)
            left[user] -= 1
            if left[user] == 0:
                ready.append(user)
    if circle := [sha for sha, count in left.items() if count]:
        return f"its history goes in a circle: {circle[0][:16]} was made from itself"
    if max(depth.values(), default=0) >= MAX_DEPTH:
        return f"its history has {MAX_DEPTH} stages behind each other, or more"
    return None


def not_a_name(name: Any) -> str | None:
    """What a valid name of a file in a folder would be, if this is none. None: it is valid."""
    if not isinstance(name, str) or not name:
        return "is a text that is not empty"
    if name in (".", "..") or "/" in name or "\\" in name or _DRIVE.match(name):
        return "is one path component, without folders or a drive"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "has no control characters"
    if len(name.encode()) > MAX_NAME:
        return f"has at most {MAX_NAME} bytes"
    return None


def is_plain(value: Any) -> bool:
    """Whether a value can be that of an option: a number, a text, true, false, null, or a list of these."""
    if isinstance(value, list):
        return len(value) <= MAX_TEXT and all(is_plain(item) and not isinstance(item, list) for item in value)
    return value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_number(value: Any) -> bool:
    """A number that fits in 64 bits. Infinity and NaN are in no file (`canonical`)."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)


def _bad(what: str, where: Path | None) -> UserError:
    return UserError(what, where=where, hint=_HINT)


def _shown(value: Any) -> str:
    """A value that nobody has checked: short, on one line, without a character that a terminal obeys."""
    return ascii(value if not isinstance(value, (str, bytes)) else value[:60])[:80]
