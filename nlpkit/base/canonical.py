"""Canonical JSON, which is hashed, compared and recorded; and JSON for other programs, which has no NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nlpkit.base.errors import RunError


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text. NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def strict(value: Any, *, indent: int | None = None) -> str:
    """JSON for other programs. Errors: RunError that names a NaN or an infinity: JSON has neither."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        name = next(iter(_not_numbers(value, "")), "a value")
        raise RunError(f"{name} is not a number, and is not printed", hint="weights are damaged, or diverged") from None


def without_nan(value: Any) -> Any:
    """``value`` with null for every NaN and infinity, so that a log goes on."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value


def _not_numbers(value: Any, name: str) -> list[str]:
    if isinstance(value, Mapping):
        return [path for key, item in value.items() for path in _not_numbers(item, f"{name}.{key}".lstrip("."))]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [path for item in value for path in _not_numbers(item, name)]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []
