"""The summary of a result that exists already: what its stage would have returned, as far as the file records it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlpkit.artifact import search
from nlpkit.artifact.file import Artifact

Json = dict[str, Any]


def summary_of(output: Path, artifact: Artifact) -> Json:
    """The keys of the stage's summary, and ``already_made``. What the run measured and no file holds is None."""
    describe = _REST.get(str(artifact.provenance.get("command")))
    rest = {} if describe is None else describe(artifact)
    size = artifact.path.stat().st_size
    return {
        "output": str(output),
        "kind": artifact.kind,
        "sha256": artifact.sha256,
        "bytes": size,
        **rest,
        "already_made": True,
    }


def _tokens(artifact: Artifact) -> Json:
    return {name: value for name, value in artifact.config.items() if name.startswith("n_")}


def _vectors(artifact: Artifact) -> Json:
    return {"vocab_size": len(artifact.config["words"]), "words": artifact.config.get("n_words"), "loss": None}


def _cooccur(artifact: Artifact) -> Json:
    config = artifact.config
    return {"vocab_size": len(config["words"]), "words": config["n_words"], "cells": config["n_cells"]}


def _glove(artifact: Artifact) -> Json:
    return {"vocab_size": len(artifact.config["words"]), "cells": artifact.config.get("n_cells"), "loss": None}


def _model(artifact: Artifact) -> Json:
    parameters = sum(math.prod(info.shape) for info in artifact.tensors.values())
    return {"parameters": parameters, "steps": artifact.config.get("training", {}).get("steps")}


def _finetuned(artifact: Artifact) -> Json:
    return {**_model(artifact), "labels": (artifact.config.get("task") or {}).get("labels"), "score": _score(artifact)}


def _distilled(artifact: Artifact) -> Json:
    return {**_model(artifact), "teacher_parameters": None, "score": _score(artifact)}


def _score(artifact: Artifact) -> float | None:
    value: float | None = artifact.config.get("training", {}).get("score")
    return value


def _imported(artifact: Artifact) -> Json:
    if artifact.kind != "vectors":
        return {}
    config = artifact.config
    return {"format": config.get("format"), "vocab_size": len(config["words"]), "dim": config.get("dim")}


def _tuned(artifact: Artifact) -> Json:
    return {**_model(artifact), **search.table(artifact.config["search"])}


_REST: dict[str, Callable[[Artifact], Json]] = {
    "tokens": _tokens,
    "vectors train": _vectors,
    "vectors cooccur": _cooccur,
    "vectors glove": _glove,
    "pretrain": _model,
    "finetune": _finetuned,
    "distill": _distilled,
    "import": _imported,
    **dict.fromkeys(("tune pretrain", "tune finetune", "tune distill"), _tuned),
}
