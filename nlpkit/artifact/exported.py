"""What a directory that `nlpkit export` made remembers: nlpkit.json, because transformers drops foreign metadata.

It is believed as long as the weights are those it speaks of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nlpkit import events
from nlpkit.artifact import file
from nlpkit.errors import UserError

WEIGHTS, SIDE = "model.safetensors", "nlpkit.json"


def history(folder: Path, sha256: str) -> dict[str, Any]:
    """sha256 -> provenance: the export itself under the directory's ``sha256``, the file it was made from, and all
    behind that.

    Empty when there is no nlpkit.json, or one that speaks of other weights, which is said.
    """
    if not (folder / SIDE).is_file() or not (folder / WEIGHTS).is_file():
        return {}
    side = _json(folder / SIDE)
    if "provenance" not in side:
        return {}  # made from another Hugging Face directory, of which nothing is known
    if side.get("weights") != file.file_sha256(folder / WEIGHTS):
        events.note(f"{folder}: its weights were changed after nlpkit exported them; where they came from is not known")
        return {}
    source = {"role": "model", "name": str(side.get("name")), "sha256": str(side.get("sha256"))}
    export = {"command": "export", "options": {"to": "huggingface"}, "seed": None, "inputs": [source],
              "versions": {"nlpkit": str(side.get("version"))}}  # fmt: skip
    return {**dict(side.get("history") or {}), source["sha256"]: side["provenance"], sha256: export}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value
