"""The stream ``-``, which may be closed."""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import BinaryIO, cast

from nlpkit.base.errors import UserError


def stdin() -> BinaryIO:
    """stdin, as bytes. Errors: UserError when it is closed."""
    access = os.O_RDONLY
    with suppress(OSError, ValueError, AttributeError):  # a test's stdin need not be a file
        access = fcntl.fcntl(sys.stdin.fileno(), fcntl.F_GETFL) & os.O_ACCMODE
    if sys.stdin is None or access == os.O_WRONLY:  # stands in for a closed one (nlpkit/cli/streams.py)
        raise UserError("is closed", where="stdin", hint="name a file, or give one: nlpkit COMMAND - < FILE")
    return cast(BinaryIO, sys.stdin.buffer)
