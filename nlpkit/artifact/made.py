"""The summary of a result that was there already: what its stage would have returned, as far as the file says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlpkit.artifact.file import Artifact

Json = dict[str, Any]


def summary(output: Path, found: Artifact) -> Json:
    """The keys of the stage's summary, and ``already_made``. What was measured on the way and is in no file is None."""
    describe = _REST.get(str(found.provenance.get("command")))
    rest = {} if describe is None else describe(found)
    size = found.path.stat().st_size
    return {"output": str(output), "kind": found.kind, "sha256": found.sha256, "bytes": size, **rest,
            "already_made": True}  # fmt: skip


def _tokens(found: Artifact) -> Json:
    return {name: value for name, value in found.config.items() if name.startswith("n_")}


def _vectors(found: Artifact) -> Json:
    return {"vocab_size": len(found.config["words"]), "words": found.config.get("n_words"), "loss": None}


def _cooccur(found: Artifact) -> Json:
    config = found.config
    return {"vocab_size": len(config["words"]), "words": config["n_words"], "cells": config["n_cells"]}


def _glove(found: Artifact) -> Json:
    return {"vocab_size": len(found.config["words"]), "cells": found.config.get("n_cells"), "loss": None}


def _model(found: Artifact) -> Json:
    parameters = sum(math.prod(info.shape) for info in found.tensors.values())
    return {"parameters": parameters, "steps": found.config.get("training", {}).get("steps")}


def _finetuned(found: Artifact) -> Json:
    return {**_model(found), "labels": (found.config.get("task") or {}).get("labels"), "score": None}


def _distilled(found: Artifact) -> Json:
    return {**_model(found), "teacher_parameters": None, "score": None}


def _imported(found: Artifact) -> Json:
    if found.kind != "vectors":
        return {}
    config = found.config
    return {"format": config.get("format"), "vocab_size": len(config["words"]), "dim": config.get("dim")}


_REST: dict[str, Callable[[Artifact], Json]] = {
    "tokens": _tokens,
    "vectors train": _vectors,
    "vectors cooccur": _cooccur,
    "vectors glove": _glove,
    "pretrain": _model,
    "finetune": _finetuned,
    "distill": _distilled,
    "import": _imported,
}
