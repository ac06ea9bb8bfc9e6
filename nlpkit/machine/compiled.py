"""numba, with a memory of what it compiled that never remembers wrongly.

numba keeps machine code between runs and looks at one file to see whether it is still the right one. A kernel that
calls one of another file would stay what it was when that one changes, and an upgrade could give old bytes. So what is
kept lies in a folder named by the bytes of all sources with kernels beside the kernel and beside this file: other
sources, another folder.
Where no folder can be written numba would refuse to start; here every run compiles anew, which costs time only.
Whoever waits for the compiler is told so, as progress.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event

from nlpkit.base import events

_KEPT = 4  # folders, those of the newest sources
_NAME = "kernels-"


class _Waiting(event.Listener):  # type: ignore[misc]
    """Counts the kernels that numba begins to compile; those it has kept it does not."""

    def __init__(self) -> None:
        self.begun = 0

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"].py_func.__module__.startswith("nlpkit."):
            self.begun += 1
            events.emit("progress", label="compiling for this processor, once:", done=self.begun, total=None,
                        unit="functions")  # fmt: skip

    def on_end(self, event: Any) -> None:
        """Nothing: what comes next tells of itself."""


event.register("numba:compile", _Waiting())


def compiled(*, inline: str = "never", allocates: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called; other threads run while it does.

    ``inline`` "always": into whatever calls it. ``allocates`` False: neither it nor what it calls makes arrays, so that
    none has to count who still needs one, which would cost more than a small kernel's work.
    """
    options = {} if allocates else {"_nrt": False}

    def decorated(function: Callable[..., Any]) -> Any:
        folder = _folder(Path(function.__code__.co_filename).parent)
        before, config.CACHE_DIR = config.CACHE_DIR, str(folder or "")  # numba reads it here, and then no more
        try:
            kept = folder is not None
            return numba.njit(cache=kept, nogil=True, forceinline=inline == "always", **options)(function)
        finally:
            config.CACHE_DIR = before

    return decorated


@cache
def _folder(sources: Path) -> Path | None:
    """Where the machine code of the kernels in a folder of sources is kept; None: nowhere."""
    shared = Path(__file__).parent
    folders = [shared] if sources == shared else [shared, sources]
    texts = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
    kernels = [text for text in texts if b"numba" in text or b"nlpkit.machine.compiled" in text]
    name = _NAME + hashlib.sha256(b"\0".join(kernels)).hexdigest()[:16]
    for place in _places(sources):
        folder = place / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            _tidy(folder)
            return folder
    events.note("no folder can be written to keep compiled kernels in: each run compiles them anew, which takes a "
                "while; NUMBA_CACHE_DIR=FOLDER names one")  # fmt: skip
    return None


def _places(sources: Path) -> list[Path]:
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR)]
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [sources / "__pycache__", Path(user) / "nlpkit"]


def _tidy(folder: Path) -> None:
    """Remove what is left of older sources."""
    with suppress(OSError):  # another process may be doing the same
        os.utime(folder)
        found = sorted(folder.parent.glob(f"{_NAME}*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
