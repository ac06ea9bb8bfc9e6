"""What a path that does not exist was meant to be: a file of a similar name, a model of a hub, a text."""

from __future__ import annotations

import re
from pathlib import Path

from nlpkit.base.errors import nearest

_HUB = re.compile(r"[A-Za-z][\w-]*(/[\w.-]+)?")
_NAMES = 10_000  # of a folder that are compared


def hint(path: Path, *, model: bool = False) -> str | None:
    """What to do about a path that is absent, None for one that exists. ``model``: a model is expected there."""
    if path.exists():
        return None
    try:
        names = [item.name for item, _ in zip(path.parent.iterdir(), range(_NAMES), strict=False)]
    except OSError:
        names = []
    stems = {Path(name).stem: name for name in sorted(names, reverse=True)}  # x.txt is not similar to any.txt
    if guess := nearest(path.stem, stems):
        return f'did you mean "{path.parent / stems[guess]}"?'
    if model and _HUB.fullmatch(str(path)):
        return "nothing is downloaded: give a Hugging Face directory on this machine"
    if not model and " " in str(path):
        return 'a text is no file: echo "..." | nlpkit predict MODEL, or nlpkit generate MODEL --prompt "..."'
    return None
