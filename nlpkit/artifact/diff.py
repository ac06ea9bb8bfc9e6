"""How two artefacts differ: config, provenance, tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.artifact.file import Artifact
from nlpkit.base.canonical import canonical

_SHA256 = re.compile("[0-9a-f]{64}")
_BLOCK = 1 << 22  # numbers compared together


def diff(left: Path, right: Path) -> dict[str, Any]:
    """What differs between two files; ``equal`` says that they are the same bytes.

    ``metadata``: dotted keys with both values (None where one has none). ``tensors``: for each that differs what is
    different: missing, type, shape, or the largest absolute difference, where it is and how many numbers differ;
    ``same_tensors`` counts those that do not.
    """
    one, other = file.read(left), file.read(right)
    differences = compare(one, other)
    same = len({*one.tensors, *other.tensors}) - len(differences["tensors"])
    return {
        "equal": one.sha256 == other.sha256,
        "left": str(left),
        "right": str(right),
        "same_tensors": same,
        **differences,
    }


def compare(one: Artifact, other: Artifact) -> dict[str, Any]:
    """The differences of two open artefacts."""
    return {"metadata": metadata_differences(one, other), "tensors": tensor_differences(one, other)}


def metadata_differences(one: Artifact, other: Artifact) -> dict[str, list[Any]]:
    """Dotted key -> [left, right], for everything but the checksums of the contents."""
    skipped = ("tensors", "digest", "history")
    flat = [
        _flat({name: value for name, value in item.metadata.items() if name not in skipped}) for item in (one, other)
    ]
    return {
        key: [flat[0].get(key), flat[1].get(key)]
        for key in sorted({*flat[0], *flat[1]})
        if flat[0].get(key) != flat[1].get(key)
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}. Inputs are keyed by role and name, so that an additional one does not shift the
    others; long lists are one value."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "role" in item for item in value):
        items = [(f"{item['role']} {item['name']}", item["sha256"]) for item in value]
    else:
        return {prefix: _short(value)}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _short(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 20:
        import hashlib

        return f"{len(value):,} values, sha256 {hashlib.sha256(canonical(value).encode()).hexdigest()[:16]}"
    return value


def tensor_differences(one: Artifact, other: Artifact) -> dict[str, dict[str, Any]]:
    """By name, in the order of names; equal tensors are left out (their sha256 are compared, so this is fast)."""
    differing: dict[str, dict[str, Any]] = {}
    for name in sorted({*one.tensors, *other.tensors}):
        if name not in one.tensors or name not in other.tensors:
            differing[name] = {"what": "missing", "from": "left" if name not in one.tensors else "right"}
            continue
        before, after = one.tensors[name], other.tensors[name]
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            differing[name] = {
                "what": "shape",
                "left": [before.dtype, list(before.shape)],
                "right": [after.dtype, list(after.shape)],
            }
        elif one.metadata["tensors"][name] != other.metadata["tensors"][name]:
            differing[name] = {"what": "values", **largest(one.array(name), other.array(name))}
    return differing


def largest(left: NDArray[Any], right: NDArray[Any]) -> dict[str, Any]:
    """The largest absolute difference, its index, and how many numbers differ (bits, so -0.0 differs from 0.0).

    ``largest`` is None where one of the two is infinite or not a number. A block at a time: token files may be larger
    than memory.
    """
    flat = [np.asarray(item).reshape(-1) for item in (left, right)]
    bits = np.dtype(f"u{left.dtype.itemsize}")
    value, largest_at, differing = -1.0, 0, 0
    for start in range(0, left.size, _BLOCK):
        one, other = (np.ascontiguousarray(item[start : start + _BLOCK]) for item in flat)
        differ = np.flatnonzero(one.view(bits) != other.view(bits))
        differing += len(differ)
        with np.errstate(invalid="ignore"):
            wide = np.abs(one[differ].astype(np.float64) - other[differ].astype(np.float64))
        wide[np.isnan(wide)] = np.inf
        if len(wide) and wide.max() > value:
            value, largest_at = float(wide.max()), start + int(differ[wide.argmax()])
    return {
        "largest": value if np.isfinite(value) else None,
        "at": [int(index) for index in np.unravel_index(largest_at, left.shape)],
        "differing": differing,
        "numbers": int(left.size),
    }


def first_difference(differences: Mapping[str, Any]) -> str:
    """In words, the first thing in which two artefacts differ: an input, an option, a version, a tensor."""
    for section in ("provenance.inputs", "provenance.options", "provenance", "determinism", ""):
        # A fingerprint differs only because something else does, and that says more.
        for key, (left, right) in sorted(differences["metadata"].items(), key=lambda item: "fingerprint" in item[0]):
            if key.startswith(section):
                return f"{key.replace('provenance.', '')} was {quote(left)}, is {quote(right)}"
    for name, what in differences["tensors"].items():
        if what["what"] == "values":
            return (
                f'tensor "{name}" differs in {what["differing"]:,} of {what["numbers"]:,} numbers, '
                f"{'by at most ' + str(what['largest']) if what['largest'] is not None else 'without measure'} "
                f"at {what['at']}"
            )
        if what["what"] == "missing":
            return f'tensor "{name}" is not in the {"first" if what["from"] == "left" else "second"}'
        return f'tensor "{name}" was {_form(what["left"])}, is {_form(what["right"])}'
    return "nothing that is recorded differs, but the bytes do"


def _form(typed: tuple[str, list[int]]) -> str:
    return f"{typed[0]} {typed[1]}"


def quote(value: Any) -> str:
    """A value in a sentence: the beginning of a long one, and of a sha256."""
    text = "absent" if value is None else str(value)
    if _SHA256.fullmatch(text):
        return text[:16]
    return text if len(text) <= 80 else text[:77] + "..."
