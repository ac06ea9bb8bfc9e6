"""A path that is written may not also be read, nor be written twice, under any of its names.

Every command calls `check_apart` with all of its arguments, so a new command or option is covered by the names in
`WRITTEN` alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nlpkit.artifact.atomic import is_temporary
from nlpkit.artifact.beside import BESIDE
from nlpkit.base.errors import UserError

WRITTEN = ("output", "log", "tensorboard")  # arguments of any command; every other path is read


def check_apart(arguments: Mapping[str, Any]) -> None:
    """Errors: UserError for two of a command's paths that are one file, of which one is written; for one that is
    written into a folder that is read; for one that has the name of a temporary file of one that is written."""
    reads = [(name, path) for name, path in _paths(arguments) if name not in WRITTEN]
    writes: list[tuple[str, Path]] = []
    for name in WRITTEN:
        for path in _some(arguments.get(name)):
            writes.append((name, path))
            if name == "output" and path.name:
                writes += [(f"{name}'s {kind}", beside(path)) for kind, beside in BESIDE.items()]
    for name, path in [*reads, *writes]:
        for writer, target in writes:
            if is_temporary(path.name, target.name) and _folder(path) == _folder(target):
                raise UserError(
                    f"is named ({_shown(name)}) as the temporary files of {target} ({_shown(writer)}) are, which the "
                    "command removes",
                    where=path,
                    hint="name another file",
                )
    seen: dict[Any, tuple[str, Path]] = {}
    for name, path in reads:
        for key in _names(path):
            seen.setdefault(key, (name, path))
    folders = [(name, path, os.path.realpath(path)) for name, path in reads if path.is_dir()]
    for name, path in writes:
        for key in _names(path):
            if key in seen:
                raise _same(name, path, *seen[key])
            seen[key] = (name, path)
        inside = os.path.realpath(path)
        for other, folder, real in folders:
            if inside.startswith(real + os.sep):
                raise UserError(
                    f"is written ({_shown(name)}) in a folder that the same command reads ({_shown(other)} {folder})",
                    where=path,
                    hint="write it elsewhere",
                )


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in and below a folder, through links to folders too, as a reader of the folder sees them."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))  # a link may lead to a folder above
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(parent, name)) not in seen]
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _same(name: str, path: Path, other: str, second: Path) -> UserError:
    does = "writes it too" if other.split("'")[0] in WRITTEN else "reads it"
    alias = "" if str(path) == str(second) else f" under the name {second}"
    return UserError(
        f"is written ({_shown(name)}), and the same command {does} ({_shown(other)}){alias}",
        where=path,
        hint="name another file",
    )


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _paths(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The arguments that are paths. ``-`` is stdin, which may be a file that the shell opened."""
    for name, value in arguments.items():
        for item in _some(value):
            yield name, item


def _some(value: Any) -> Iterable[Path]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if isinstance(item, Path)]


def _names(path: Path) -> Iterator[Any]:
    """What identifies a file: its resolved path, and its device and inode."""
    if str(path) == "-":
        with suppress(OSError, ValueError, AttributeError):
            status = os.fstat(sys.stdin.fileno())
            if _regular(status.st_mode):
                yield status.st_dev, status.st_ino
        return
    with suppress(OSError, ValueError):
        yield os.path.realpath(path)
        status = os.stat(path)
        if _regular(status.st_mode) or os.path.isdir(path):
            yield status.st_dev, status.st_ino


def _folder(path: Path) -> str:
    return os.path.realpath(path.parent)


def _regular(mode: int) -> bool:
    return (mode & 0o170000) == 0o100000
