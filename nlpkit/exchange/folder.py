"""A folder that may hold other files: nlpkit replaces its own files in it, and touches no others.

Its own files are those that the folder's nlpkit.json lists under ``files``, as long as they have the listed sha256.

A new folder is created under a temporary name beside the path and renamed, so it appears complete. In an existing
folder each file is renamed to its path, and a model of which half the files are old would be worse than none. So the
old weights are moved away first and the new ones come last: a run that is killed in between leaves a folder without
weights, which no tool opens, and the same command completes it. Meanwhile nlpkit.json lists the old and the new sha256
of each file, so that all still count as nlpkit's.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic
from nlpkit.artifact.exported import SIDE, WEIGHTS, claims
from nlpkit.artifact.file import file_sha256
from nlpkit.artifact.lock import only_run
from nlpkit.base import small
from nlpkit.base.errors import UserError

_HINT = "name another folder with -o, or move the file away"


@contextmanager
def writing_files(path: Path, *, force: bool) -> Iterator[Path]:
    """A private folder to write files in, nlpkit.json among them; at the end of the block they are in the folder
    ``path``, which is created if it does not exist, unless an error was raised.

    Errors: ``path`` is no folder or cannot be written, holds a file that nlpkit would write and did not (or that was
    changed since), or, without ``force``, one that it did.
    """
    real = Path(os.path.realpath(path))
    check_folder(path, real)
    there = real.is_dir()
    with only_run(real / SIDE if there else real):
        atomic.clean(real / SIDE if there else real)
        staging = atomic.temporary(real / SIDE if there else real)
        try:
            staging.mkdir(mode=0o700 if there else 0o777)
            handle = os.open(staging, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                with suppress(OSError):  # some file systems have no locks
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so that no other run takes it for a dead run's
                yield staging
                new = {item.name: file_sha256(item) for item in staging.iterdir() if item.name != SIDE}
                _write_side(staging / SIDE, new)
                for item in staging.iterdir():
                    _sync(item)
                if there:
                    _replace(staging, real, new, force=force)
                else:
                    os.rename(staging, real)
                atomic.sync_folder(real if there else real.parent)
            finally:
                os.close(handle)
        except OSError as error:
            raise atomic.cannot_write(error, path) from None
        finally:
            atomic.remove_folder(staging)


def check_folder(path: Path, real: Path) -> None:
    """Errors: ``path``, whose real path is ``real``, is no folder, or cannot be created or written."""
    if real.exists() and not real.is_dir():
        raise UserError("is not a folder, and a Hugging Face model is one", where=path)
    folder = real if real.is_dir() else real.parent
    if not folder.is_dir():
        raise UserError("the folder does not exist", where=folder, hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError("the folder is not writable", where=folder)


def _replace(staging: Path, folder: Path, new: Mapping[str, str], *, force: bool) -> None:
    """Move the files of ``staging`` into an existing folder."""
    known = claims(folder)
    ours = {name for name in known or {} if _is(folder / name, (known or {})[name])}
    there = [name for name in [*sorted(new), SIDE] if os.path.lexists(folder / name)]
    for name in there:  # all of them before --force is suggested, which would not replace these
        path = folder / name
        if name == SIDE and known is None:
            raise UserError("is not a file that nlpkit export wrote, and is left alone", where=path, hint=_HINT)
        if name != SIDE and name not in ours and not _is(path, [new[name]]):
            why = "was changed since nlpkit export wrote it" if name in (known or {}) else "is not nlpkit's"
            raise UserError(f"{why}, and is left alone", where=path, hint=_HINT)
    for name in there:
        path = folder / name
        if not force:
            raise UserError("exists already", where=path, hint="--force overwrites it, or name another folder with -o")
        with suppress(FileNotFoundError):
            os.chmod(staging / name, stat.S_IMODE(path.stat().st_mode))
    if ours:
        both = {name: [*(known or {}).get(name, []), *([new[name]] if name in new else [])] for name in {*ours, *new}}
        final = (staging / SIDE).read_bytes()
        _write_side(staging / SIDE, both)
        _sync(staging / SIDE)
        os.replace(staging / SIDE, folder / SIDE)
        (staging / SIDE).write_bytes(final)
        _sync(staging / SIDE)
        if WEIGHTS in ours:
            os.rename(folder / WEIGHTS, staging / f".{WEIGHTS}.old")
        atomic.sync_folder(folder)
    for name in sorted(new, key=lambda name: (name == WEIGHTS, name)):
        os.replace(staging / name, folder / name)
    for name in ours - new.keys() - {WEIGHTS}:
        (folder / name).unlink(missing_ok=True)
    os.replace(staging / SIDE, folder / SIDE)


def _is(path: Path, known: list[str]) -> bool:
    """Whether a file, which is no link, has one of these sha256."""
    return path.is_file() and not path.is_symlink() and file_sha256(path) in known


def _write_side(path: Path, files: Mapping[str, Any]) -> None:
    side = json.loads(small.read(path, small.JSON)) if path.exists() else {}
    side["files"] = dict(sorted(files.items()))
    path.write_text(json.dumps(side, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
