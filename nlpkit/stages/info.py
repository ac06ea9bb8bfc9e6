"""Look into artefacts: what one holds (`info`) and where it came from (`lineage`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from nlpkit.artifact import file
from nlpkit.stages.verify import Search


def info(path: Path, *, check: bool = False) -> dict[str, Any]:
    """What a file holds: kind, config, tensors, tokenizer, provenance. ``check`` reads every tensor's bytes too.

    ``inputs`` says where the inputs of its command are now, None where that is not known: a file records their names
    and sha256, and no folder. They are searched by name as `verify` does.
    """
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
        "numbers": sum(prod(entry.shape) for entry in artifact.tensors.values()),
        "tokenizer": None if tokenizer is None else _tokenizer(tokenizer),
        "tensors": {
            name: {"dtype": entry.dtype, "shape": list(entry.shape)} for name, entry in sorted(artifact.tensors.items())
        },
        "provenance": artifact.provenance,
        "inputs": _inputs(path, artifact.provenance),
        "determinism": artifact.metadata["determinism"],
    }


def _inputs(path: Path, provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    search = Search([path.resolve().parent, Path.cwd()], None)
    located = []
    for item in provenance.get("inputs", ()):
        at = None if item["name"] == "-" else search.named(item["name"], item["sha256"])
        if at is not None and at.is_relative_to(Path.cwd()):
            at = at.relative_to(Path.cwd())
        located.append({**item, "path": None if at is None else str(at)})
    return located


def _tokenizer(value: Mapping[str, Any]) -> dict[str, Any]:
    pieces = value.get("pieces")
    return {"kind": value.get("kind"), "vocab_size": len(pieces) if isinstance(pieces, list) else None}


def lineage(path: Path) -> dict[str, Any]:
    """The stages behind a file, as a tree: each with its command, options, versions and inputs; an input that was
    made by a stage holds that stage. Files that no stage made are leaves: name and sha256. A file that several
    stages read shows its stage once; from then on it is ``repeated``."""
    artifact = file.read(path)
    history = artifact.metadata["history"]
    shown: set[str] = set()

    def stage(name: str, sha: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
        inputs = []
        for item in provenance.get("inputs", ()):
            leaf = {"role": item["role"], "name": item["name"], "sha256": item["sha256"]}
            behind = history.get(item["sha256"])
            if behind is not None and item["sha256"] in shown:
                leaf["repeated"] = True
            elif behind is not None:
                shown.add(item["sha256"])
                leaf |= stage(item["name"], item["sha256"], behind)
            inputs.append(leaf)
        return {
            "name": name,
            "sha256": sha,
            "command": provenance.get("command"),
            "options": provenance.get("options", {}),
            "versions": provenance.get("versions", {}),
            "inputs": inputs,
        }

    return stage(path.name, artifact.sha256, artifact.provenance)
