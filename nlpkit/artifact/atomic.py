"""Files appear whole or not at all: a temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nlpkit.errors import RunError, UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def check_target(path: Path, *, force: bool) -> None:
    """Refuse before any work what would fail after it: a folder, a device, a finished file without --force."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=path) from None
    if mode is not None and not stat.S_ISREG(mode):
        what = "is a folder" if stat.S_ISDIR(mode) else "is not an ordinary file"
        raise UserError(f"{what}; a result needs a file name of its own", where=path)
    if mode is not None and not force:
        raise UserError("exists already", where=path, hint="--force overwrites it, or name another file with -o")
    folder = path.parent
    if not folder.is_dir():
        raise UserError("the folder does not exist", where=folder, hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError("the folder is not writable", where=folder)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in; it takes the name ``path`` at the end of the block, if nothing went wrong.

    The temporary name is fixed (``.NAME.partial``), so that what a killed run left is overwritten by the next.
    Errors: RunError when the disk is full, UserError when the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise cannot_write(error, path) from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def cannot_write(error: OSError, path: Path) -> UserError:
    """The error for what the system said while ``path`` was written."""
    if error.errno in _FULL:
        return RunError(f"cannot write: {error.strerror}; nothing was left behind", where=path,
                        hint="free some space and run the same command again")  # fmt: skip
    return UserError(f"cannot write: {error.strerror}", where=path)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems cannot sync a folder; the rename is still atomic
    finally:
        os.close(handle)


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write a text file atomically."""
    check_target(path, force=force)
    with writing(path) as file:
        file.write(text.encode("utf-8"))
