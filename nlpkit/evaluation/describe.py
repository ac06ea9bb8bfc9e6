"""The description of model and data in a result, and timing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from nlpkit.artifact import file, provenance
from nlpkit.models.load import Loaded

T = TypeVar("T")


def describe(loaded: Loaded) -> dict[str, Any]:
    """Name, family, layers, width, number of parameters, bytes and sha256 of a model."""
    path = loaded.path
    files = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
    return {
        "name": path.name,
        "family": loaded.family.name,
        "n_layers": loaded.model.config.n_layers,
        "d_model": loaded.model.config.d_model,
        "parameters": sum(value.numel() for value in loaded.model.parameters()),
        "bytes": sum(item.stat().st_size for item in files),
        "sha256": sha256(path),
    }


def sha256(path: Path) -> str:
    """The sha256 of a file or a folder."""
    return provenance.folder_sha256(path) if path.is_dir() else file.file_sha256(path)


def timed(work: Callable[[], T], n_examples: int) -> tuple[T, dict[str, float]]:
    """The result of ``work``, and its speed, for people: no other result may depend on it."""
    began = time.perf_counter()
    result = work()
    seconds = max(1e-9, time.perf_counter() - began)
    return result, {"seconds": round(seconds, 3), "examples_per_second": round(n_examples / seconds, 1)}
