"""Look into artefacts: what one holds (`info`) and where it came from (`lineage`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlpkit.artifact import file


def info(path: Path, *, check: bool = False) -> dict[str, Any]:
    """What a file holds: kind, config, tensors, tokenizer, provenance. ``check`` reads every tensor's bytes too."""
    artifact = file.read(path)
    if check:
        artifact.check()
    tokenizer = artifact.tokenizer
    return {
        "path": str(path),
        "kind": artifact.kind,
        "bytes": artifact.path.stat().st_size,
        "sha256": artifact.sha256,
        "config": artifact.config,
        "tokenizer": None if tokenizer is None else {"kind": tokenizer.get("kind")},
        "tensors": {
            name: {"dtype": entry.dtype, "shape": list(entry.shape)}
            for name, entry in sorted(artifact.tensors.items())
        },
        "provenance": artifact.provenance,
        "determinism": artifact.metadata["determinism"],
    }
