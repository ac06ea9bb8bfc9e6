"""What a result says of the model and the data it was measured with."""

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
    """Of a file or a folder."""
    return provenance.folder_sha256(path) if path.is_dir() else file.file_sha256(path)


def timed(work: Callable[[], T], n_examples: int) -> tuple[T, dict[str, float]]:
    """What ``work`` returns, and how fast it was, for people: no result may depend on it."""
    began = time.perf_counter()
    found = work()
    seconds = max(1e-9, time.perf_counter() - began)
    return found, {"seconds": round(seconds, 3), "examples_per_second": round(n_examples / seconds, 1)}
