"""One target, one run: a lock that the running process holds and that its end releases, however it ends.

It is an flock on ``.NAME.lock`` beside the target, which is removed when the run ends. After kill -9 the empty file
stays; nobody holds it, and the next run of the target takes it and removes it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlpkit.artifact.atomic import cannot_write
from nlpkit.artifact.beside import lock_of
from nlpkit.base import events
from nlpkit.base.errors import RunError


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Inside the block no other run makes ``output``. Errors: RunError, at once, when one is doing so."""
    name = lock_of(output)
    try:
        handle = _taken(name, output)
    except OSError as error:
        raise cannot_write(error, output) from None
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                name.unlink()  # while it is locked: a run that opens it meanwhile sees that the file was replaced
            os.close(handle)


def _taken(name: Path, output: Path) -> int | None:
    """The lock file, open and locked; None where the file system has no locks."""
    while True:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(name, follow_symlinks=False)):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise RunError("is being written by another run", where=output, hint="wait for it, or stop it") from None
        except FileNotFoundError:
            pass  # the run before removed it between our system calls
        except OSError as error:
            events.note(f"{output.parent}: no locks here ({error.strerror}); two runs of one target are not noticed")
            os.close(handle)
            with suppress(OSError):
                name.unlink()
            return None
        os.close(handle)
