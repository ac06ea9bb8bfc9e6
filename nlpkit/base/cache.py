"""The folder in which nlpkit saves compiled code between runs: one of the user's, or none."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

from nlpkit.base import events

_TEMPORARY = ("/tmp", "/var/tmp")


@cache
def user_cache() -> Path | None:
    """A folder that exists, is writable, and that no other user can write: ``$XDG_CACHE_HOME/nlpkit``,
    ``~/.cache/nlpkit``, or ``nlpkit-UID`` in the folder for temporary files; None without any of them. A
    note reports a folder outside of the user's home.

    Its content is executed, hence the checks. A ``~`` that nothing expands (no HOME, an unknown uid, as in
    containers) would be a folder of that name in whatever folder the user works in, and is no path.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(base) and _private(Path(base) / "nlpkit"):
        return Path(base) / "nlpkit"
    for temporary in (os.environ.get("TMPDIR", ""), *_TEMPORARY):
        folder = Path(temporary) / f"nlpkit-{os.getuid()}"
        if os.path.isabs(temporary) and os.path.isdir(temporary) and _private(folder):
            events.note(f"no home folder can be written; what nlpkit compiles is kept in {folder}")
            return folder
    events.note("neither a home folder nor one for temporary files can be written; nothing is kept between runs")
    return None


def _private(folder: Path) -> bool:
    """Whether ``folder``, made if it is missing, is a real folder of this user that nobody else can write."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()  # a link that somebody planted is not followed
        if folder.is_symlink() and folder.stat().st_uid == os.getuid() == status.st_uid:
            status = folder.stat()  # the user's own link
    except OSError:
        return False
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    return mine and os.access(folder, os.W_OK | os.X_OK)
