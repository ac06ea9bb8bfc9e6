"""The three streams of a process, which may be closed, full, of another encoding, or a pipe that nobody reads."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress


def prepare() -> None:
    """Make all three usable, and stdout UTF-8 whatever the locale: the same bytes everywhere.

    A stream that was closed (``2>&-``) would leave its number to the first file that is opened, and what was meant for
    people would be written into it. In its place comes one that refuses: whoever reads or writes data there gets an
    error; messages for people go nowhere.
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
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    # Half a surrogate pair, which UTF-8 cannot hold, is written as JSON writes it: \ud800.
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]


def reader_gone() -> bool:
    """Whether stdout is a pipe whose reader has closed it."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def leave_stdout() -> None:
    """What is still buffered for stdout goes nowhere: Python would complain once more when it closes it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
