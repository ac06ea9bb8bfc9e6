"""nlpkit.json, the record in a directory that `nlpkit export` wrote, because transformers drops foreign metadata.

It is believed only while the weights have the sha256 that it names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nlpkit.artifact import file, recorded, schema
from nlpkit.artifact.paths import files_below
from nlpkit.base import events, small
from nlpkit.base.errors import UserError

WEIGHTS, SIDE = "model.safetensors", "nlpkit.json"


def history(folder: Path, sha256: str) -> dict[str, Any]:
    """sha256 -> provenance: the export itself under the directory's ``sha256``, the file it was made from, and that
    file's history.

    Empty when there is no nlpkit.json, or, with a note, one of other weights.
    """
    side, same = _side(folder)
    if "provenance" not in side:
        return {}  # made from another Hugging Face directory, of which nothing is known
    if not same:
        events.note(f"{folder}: its weights were changed after nlpkit exported them; where they came from is not known")
        return {}
    if "files" in side and not same_files(folder):
        events.note(f"{folder}: holds other files than nlpkit exported; where they came from is not known")
        return {}
    source = {"role": "model", "name": side.get("name"), "sha256": side.get("sha256")}
    export = {
        "command": "export",
        "options": {"to": "huggingface"},
        "seed": None,
        "inputs": [source],
        "versions": {"nlpkit": side.get("version")},
    }
    recorded.check(side["provenance"], side.get("history"), where=folder / SIDE)
    behind = {**side["history"], str(source["sha256"]): side["provenance"]}
    recorded.check(export, behind, where=folder / SIDE)  # once more together: the joined history may have a cycle
    return {**behind, sha256: export}


def claims(folder: Path) -> dict[str, list[str]] | None:
    """name -> sha256 (several while an export is running) of the files that an export recorded in a folder; None when
    there is no nlpkit.json, or one that no export wrote."""
    try:
        files = _json(folder / SIDE).get("files")
    except UserError:
        return None
    if not isinstance(files, dict) or any(recorded.not_a_name(name) for name in files):
        return None
    return {
        name: [str(sha) for sha in (value if isinstance(value, list) else [value])] for name, value in files.items()
    }


def same_files(folder: Path) -> bool:
    """Whether a folder holds what `nlpkit export` wrote there, unchanged, and nothing else that its sha256 counts."""
    known = claims(folder)
    if known is None:
        return False
    there = {path.relative_to(folder) for path in files_below(folder)}
    seen = {str(path) for path in there if not any(part.startswith(".") for part in path.parts)} - {SIDE}
    return seen == known.keys() and all(file.file_sha256(folder / name) in known[name] for name in known)


def recorded_config(folder: Path, name: str) -> dict[str, Any]:
    """The section ``name`` of the exported model's config: its training, or how it computes embeddings; empty when that
    is not recorded, or recorded of other weights."""
    side, same = _side(folder)
    config = side.get("config")
    value = config.get(name) if same and isinstance(config, dict) else None
    expected = schema.KINDS["model"].config.get(name, schema.record())
    if value is not None and (why := expected(value)):
        raise schema.bad(f"its config has the {name} {ascii(value)[:60]}, expected {why}", folder / SIDE)
    return dict(value) if isinstance(value, dict) else {}


def side(folder: Path) -> dict[str, Any]:
    """nlpkit.json. Errors: UserError when it cannot be read."""
    return _json(folder / SIDE)


def _side(folder: Path) -> tuple[dict[str, Any], bool]:
    """nlpkit.json, empty when there is none, and whether it describes the weights beside it."""
    if not (folder / SIDE).is_file() or not (folder / WEIGHTS).is_file():
        return {}, False
    side = _json(folder / SIDE)
    return side, side.get("weights") == file.file_sha256(folder / WEIGHTS)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(small.read(path, small.JSON))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value
