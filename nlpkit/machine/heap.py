"""How much memory the process holds, and when it returns freed memory to the system.

glibc keeps freed blocks below 32 MB for reuse, and torch's blocks (aligned, of many sizes) fragment them: a step holds
a third more memory than it uses. Blocks that are mapped one by one return to the system when they are freed, and the
next ones are new pages, which costs about a tenth of a step's time (benchmarks/plan.py). So this is for users who want
less memory at the price of time. It changes no byte of a result, and systems without glibc have no such choice.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h
LARGE = (
    32 << 20
)  # bytes; blocks of this size and more are always mapped one by one (glibc's largest threshold on 64 bits)
_FRUGAL, _NEVER = 1 << 18, 2**31 - 1  # bytes; a step's end frees most of what the next step's beginning allocates


def give_back(on: bool) -> None:
    """Return freed blocks to the system at once (``on``), or keep them for reuse as usual."""
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, _FRUGAL if on else LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _FRUGAL if on else _NEVER)
        trim()


def trim() -> None:
    """Return what is free now to the system."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def held() -> int:
    """Resident memory of this process in bytes; its peak where the system does not report the current value."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024
    except (OSError, KeyError):
        return most_held()


def most_held() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None
