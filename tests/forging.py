"""Files as somebody who cheats would make them: changed, with digests that agree again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import file, safetensors
from nlpkit.base.canonical import canonical

Tensors = dict[str, np.ndarray]
Change = Callable[[dict[str, Any], Tensors], None]


def load(path: Path) -> tuple[dict[str, Any], Tensors]:
    """A copy of a file's metadata and tensors."""
    artifact = file.read(path)
    return copy.deepcopy(artifact.metadata), {name: np.array(artifact.array(name)) for name in artifact.tensors}


def sign(metadata: dict[str, Any], tensors: Tensors, path: Path) -> Path:
    """Write them, checksums made anew."""
    metadata = {name: value for name, value in metadata.items() if name != "digest"}
    metadata["tensors"] = {name: safetensors.digest(value) for name, value in tensors.items()}
    metadata["digest"] = file._digest(metadata, safetensors.table(tensors))
    with open(path, "wb") as target:
        safetensors.write(target, tensors, {file.KEY: canonical(metadata)})
    return path


def forge(source: Path, path: Path, change: Change) -> Path:
    """A changed copy of a file."""
    metadata, tensors = load(source)
    change(metadata, tensors)
    return sign(metadata, tensors, path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def given(role: str, name: Any, sha: str = "0" * 64) -> dict[str, Any]:
    """An input as a provenance records it."""
    return {"role": role, "name": name, "sha256": sha}


def stage(command: str, inputs: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """What is recorded of a stage."""
    return {"command": command, "options": options, "seed": None, "versions": {"nlpkit": "0.1.0"}, "inputs": inputs}


def doubling(levels: int) -> tuple[dict[str, Any], str]:
    """A history in which each file was made of the one before it twice, and the last sha256: a valid graph, whose
    tree has 2 to the power of ``levels`` leaves."""
    history: dict[str, Any] = {}
    before = None
    for level in range(levels):
        sha = hashlib.sha256(str(level).encode()).hexdigest()
        roles = ("corpus", "tokenizer") if before else ()
        history[sha] = stage("tokens", [given(role, f"{level - 1}.safetensors", before or "") for role in roles])
        before = sha
    assert before is not None
    return history, before
