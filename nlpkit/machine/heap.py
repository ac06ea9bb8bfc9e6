"""What the process holds of the machine's memory, and when it gives back what it has freed.

glibc keeps freed blocks below 32 MB for the next, and torch's blocks (aligned, of many sizes) leave holes between them:
of the memory of a step a third more is held than is used. Blocks that are mapped one by one go back when they are
freed, and come back as new pages, which costs about a tenth of a step's time (benchmarks/plan.py). So this is for who
has asked for less memory at the price of time. It changes no byte of a result, and other systems have no such choice.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h
LARGE = 32 << 20  # bytes; blocks as large are always mapped by themselves (glibc's largest threshold on 64 bits)
_FRUGAL, _KEPT = 1 << 18, 2**31 - 1  # bytes; a step's end frees most of what the next step's beginning asks for


def give_back(on: bool) -> None:
    """Give freed blocks back at once, or keep them as usual."""
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, _FRUGAL if on else LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _FRUGAL if on else _KEPT)
        trim()


def trim() -> None:
    """Give back what is free now."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def held() -> int:
    """Bytes of memory that this process holds now; where the system does not say, the most it has held."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024
    except (OSError, KeyError):
        return most_held()


def most_held() -> int:
    """The most bytes of memory that this process has held."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None
