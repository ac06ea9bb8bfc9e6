"""Files appear whole or not at all: a temporary file in the target's own folder, fsync, rename.

The temporary file has a name that nobody can guess and is always created (O_EXCL, no link is followed), so that no link
planted in a shared folder is written through. Its writer holds a lock on it. What a killed run left is therefore
recognized by its name and by not being locked, and `clean` removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from nlpkit.base.errors import RunError, UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOKEN = 8  # random bytes of a temporary name; twice as many hex digits
LONGEST = ".{}.resume." + "0" * 2 * _TOKEN + ".partial"  # the longest name of a file beside a target


def check_target(path: Path, *, force: bool) -> None:
    """Refuse before any work what would fail at the end: a folder, a device, an existing file without --force."""
    mode: int | None = None
    real = target_of(path)
    try:
        with suppress(FileNotFoundError):
            real.with_name(LONGEST.format(real.name)).lstat()
        mode = real.stat().st_mode
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
    folder = real.parent
    if not folder.is_dir():
        raise UserError("the folder does not exist", where=folder, hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError("the folder is not writable", where=folder)


def target_of(path: Path) -> Path:
    """The file that ``path`` means: through symbolic links, also to a file that is not there yet. Errors: links that go
    in circles, or lead into /dev or /proc, such as /dev/stdout: what they name is no file that could be replaced."""
    step = path
    for _ in range(40):
        if str(path) in ("", ".", "/") or step.name == "..":
            return path
        folder = os.path.realpath(step.parent)
        if folder == "/dev" or folder == "/proc" or folder.startswith("/proc/"):
            raise UserError("is not an ordinary file; a result needs a file name of its own", where=path)
        try:
            link = os.readlink(step)
        except OSError:  # not a link, or nothing
            return step
        step = step.parent / link
    raise UserError("is a link that leads to itself", where=path)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; it gets the name ``path`` at the end of the block, if nothing failed. A symbolic link is
    followed: its target is replaced, in its own folder. A replaced file's permissions stay.

    Errors: RunError when the disk is full, UserError when the folder cannot be written.
    """
    real = target_of(path)
    clean(real)
    name: Path | None = None
    try:
        with _fresh(real) as file:
            name = Path(file.name)
            yield file
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(real.stat().st_mode))
            file.flush()
            os.fsync(file.fileno())
            os.replace(name, real)
            name = None
        sync_folder(real.parent)
    except BaseException as error:
        if isinstance(error, OSError):
            raise cannot_write(error, path) from None
        raise
    finally:
        if name is not None:
            with suppress(OSError):
                name.unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """A name beside ``path`` that nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN)}.partial")


def is_temporary(name: str, target: str) -> bool:
    """Whether a file of this name, in the folder of a target, is one of the target's temporary files."""
    return re.fullmatch(rf"\.{re.escape(target)}\.[0-9a-f]{{{2 * _TOKEN}}}\.partial", name) is not None


def _fresh(path: Path) -> BinaryIO:
    """A new file beside ``path``, locked; it is no more readable than the umask and the file it will replace allow."""
    name = temporary(path)
    mode = 0o600 if path.exists() else 0o666  # later the mode of the replaced file
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return cast(BinaryIO, open(name, "r+b", opener=lambda *_: handle))


def clean(path: Path) -> None:
    """Remove the temporary files, and folders of an export, that runs killed while they wrote ``path`` have left."""
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if is_temporary(name, path.name):
                _remove_dead(path.with_name(name))


def _remove_dead(path: Path) -> None:
    """Remove a temporary file or folder, unless the run that writes it is alive."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                remove_folder(path)
            else:
                path.unlink()
        finally:
            os.close(handle)


def remove_folder(path: Path) -> None:
    """Remove a folder of files; one that holds folders is left."""
    with suppress(OSError):
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()


def cannot_write(error: OSError, path: Path) -> UserError:
    """The error for a system error while ``path`` was written."""
    if error.errno in _FULL:
        return RunError(
            f"cannot write: {error.strerror}; nothing half-written was left behind",
            where=path,
            hint="free some space and run the same command again",
        )
    return UserError(f"cannot write: {error.strerror}", where=path)


def sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    with suppress(OSError):  # some folders cannot be read, or not be synced; the rename is still atomic
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def spool(target: Path) -> Iterator[Callable[[str], BinaryIO]]:
    """Temporary files beside a target for what does not fit in memory, one for each key. They have no name in the
    folder, so that none is left, however the run ends. Errors: as of `writing`."""
    files: dict[str, BinaryIO] = {}
    try:
        with ExitStack() as stack:

            def named(name: str) -> BinaryIO:
                if name not in files:
                    folder = target_of(target).absolute().parent
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
