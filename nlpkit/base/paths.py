"""Paths as text: the public functions take ``"bert.safetensors"`` as well as ``Path("bert.safetensors")``.

The annotations of a function say which parameters are paths, so that no function converts its own.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")
_PATH = re.compile(r"\bPath\b")
_PATHS = re.compile(r"\bSequence\[Path\]")


def takes_text_as_path(function: Callable[..., R]) -> Callable[..., R]:
    """The same function, which accepts text wherever an annotation says ``Path``, and one path where it says only
    ``Sequence[Path]``. Its signature shows both."""
    signature = inspect.signature(function)
    kinds = {name: str(item.annotation) for name, item in signature.parameters.items()}
    kinds = {name: kind for name, kind in kinds.items() if _PATH.search(kind)}

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> R:
        try:
            bound = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # Python's own error names the function and the argument
        for name in kinds.keys() & bound.arguments.keys():
            bound.arguments[name] = _converted(bound.arguments[name], kinds[name])
        return function(*bound.args, **bound.kwargs)

    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            item.replace(annotation=_PATH.sub("str | Path", kinds[name])) if name in kinds else item
            for name, item in signature.parameters.items()
        ]
    )
    return call


def _converted(value: Any, kind: str) -> Any:
    if isinstance(value, str):
        value = Path(value)
    if not _PATHS.search(kind):
        return value
    if isinstance(value, Path):
        only_several = not _PATH.search(_PATHS.sub("", kind))
        return [value] if only_several else value
    if isinstance(value, (list, tuple)):
        return [Path(item) if isinstance(item, str) else item for item in value]
    return value
