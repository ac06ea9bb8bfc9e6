"""Files appear whole or not at all: a temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from nlpkit.base.errors import RunError, UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def check_target(path: Path, *, force: bool) -> None:
    """Refuse before any work what would fail after it: a folder, a device, a finished file without --force."""
    mode: int | None = None
    try:
        partial(path.with_name(path.name + ".resume")).exists()  # the longest name that may stand beside it
        mode = path.stat().st_mode
    except FileNotFoundError:
        pass
    except ValueError:  # "", "." and "/" have no name
        raise UserError("is not the name of a file", where=str(path) or "-o", hint="name a file with -o") from None
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


def partial(path: Path) -> Path:
    """The name a file has while it is written: fixed, so that what a killed run left is overwritten by the next."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in; it takes the name ``path`` at the end of the block, if nothing went wrong.

    Errors: RunError when the disk is full or another process is writing the same file, UserError when the folder
    cannot be written.
    """
    name = partial(path)
    try:
        file = _alone(name, path)
    except OSError as error:
        raise cannot_write(error, path) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(name, path)  # before the file is closed, which would let another process write in it
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            name.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(error, path) from None
        raise


def _alone(name: Path, path: Path) -> BinaryIO:
    """Open ``name`` for one process: two that wrote in it at the same time would give ``path`` the bytes of both."""
    while True:
        file = cast(BinaryIO, os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT, 0o666), "r+b"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RunError("is being written by another run", where=path, hint="wait for it, or stop it") from None
        except OSError:
            pass  # some file systems have no locks
        try:
            same = os.path.samestat(os.fstat(file.fileno()), os.stat(name))
        except FileNotFoundError:
            same = False
        if same:
            file.truncate(0)
            return file
        file.close()  # it got its final name, or was removed, between our two system calls


def cannot_write(error: OSError, path: Path) -> UserError:
    """The error for what the system said while ``path`` was written."""
    if error.errno in _FULL:
        return RunError(f"cannot write: {error.strerror}; nothing half-written was left behind", where=path,
                        hint="free some space and run the same command again")  # fmt: skip
    return UserError(f"cannot write: {error.strerror}", where=path)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    with suppress(OSError):  # some folders cannot be read, or not be synced; the rename is still atomic
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def spool(target: Path) -> Iterator[Callable[[str], BinaryIO]]:
    """Files beside a target for what does not fit in memory while it is made, one for each name that is asked for. In
    the folder they have none, so that nothing of them is left, however the run ends. Errors: as of `writing`."""
    files: dict[str, BinaryIO] = {}
    try:
        with ExitStack() as stack:

            def named(name: str) -> BinaryIO:
                if name not in files:
                    folder = target.absolute().parent
                    files[name] = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile(dir=folder)))
                return files[name]

            yield named
    except OSError as error:
        raise cannot_write(error, target) from None


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write a text file atomically."""
    check_target(path, force=force)
    with writing(path) as file:
        file.write(text.encode("utf-8"))
