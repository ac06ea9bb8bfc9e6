"""The standard streams, which may be closed, full, of another encoding, or a pipe without a reader."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

from nlpkit.base.errors import RunError


def prepare() -> None:
    """Make all three usable, and stdout UTF-8 in every locale: the same bytes everywhere.

    The descriptor of a closed stream (``2>&-``) would be reused for the first file that is opened, and messages would
    be written into that file. It is replaced by the null device, opened so that reading or writing data fails; messages
    are discarded.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - open as long as the process lives
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if sys.stdout:
        sys.stdout.flush()
    buffer = io.BufferedWriter(_Stdout(1, "w", closefd=False))
    # A lone surrogate, which UTF-8 cannot encode, is written as in JSON: \ud800.
    sys.stdout = io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=os.isatty(1))


class _Stdout(io.FileIO):
    """stdout, named by its errors. The error of a pipe without a reader stays as it is: it ends a command quietly."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            leave_stdout()
            # EBADF: the null device of `prepare`, which cannot be written to
            what = "is closed" if error.errno == errno.EBADF else f"cannot write: {error.strerror}"
            raise RunError(what, where="stdout", hint="> FILE puts what is printed in a file") from None


def reader_gone() -> bool:
    """Whether stdout is a pipe whose reader has closed it."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def leave_stdout() -> None:
    """Discard what is still buffered for stdout: Python would report the error again when it closes the stream."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
