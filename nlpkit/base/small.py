"""Files that are read whole: configurations, logs, the JSON of directories. Each type has a largest size, and the error
names it. A device is refused, because it never ends; so is a pipe, which may never begin.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from nlpkit.base.errors import UserError

CONFIG = 1 << 20  # bytes of a configuration
JSON = 1 << 27  # of a file of a directory; a tokenizer of a quarter of a million pieces has some 30 MB
LOG = 1 << 28  # of a log or an evaluation


def read(path: Path, most: int, *, pipes: bool = False) -> bytes:
    """The bytes of a small file. ``pipes`` takes those of a pipe, too. Errors: UserError for
    anything but an ordinary file, and for one larger than ``most``; OSError from the system."""
    check(path, pipes=pipes)
    with open(path, "rb") as file:
        return take(file, most, str(path))


def take(file: BinaryIO, most: int, where: str) -> bytes:
    """All bytes of an open file. Errors: more than ``most``."""
    raw = file.read(most + 1)
    if len(raw) > most:
        raise UserError(f"has more than {most:,} bytes, the most that is read of such a file", where=where)
    return raw


def check(path: Path, *, pipes: bool = False) -> None:
    """Errors: a UserError for a device, a socket, and without ``pipes`` for a pipe; folders and missing files
    are left to the system."""
    mode = path.stat().st_mode
    kind = "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a socket" if stat.S_ISSOCK(mode) else None
    kind = "a pipe" if stat.S_ISFIFO(mode) and not pipes else kind
    if kind:
        raise UserError(f"is {kind}, expected a file", where=path)
