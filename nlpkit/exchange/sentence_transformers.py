"""The embedding settings of a sentence-transformers directory: modules.json and the folders that it names.

They become ``config["embedding"]``: ``pooling``, ``normalize`` and ``max_len``, the defaults of `nlpkit embed`. A
directory that needs more than that has ``other``, the first thing that nlpkit does not compute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlpkit.base import small
from nlpkit.base.errors import UserError

MODULES, SETTINGS = "modules.json", "sentence_bert_config.json"
# Ours -> theirs; they concatenate the vectors of all modes that are true, and the mean is true by default.
_MODES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
_OTHERS = ("mean_sqrt_len_tokens", "weightedmean_tokens")
_NAMES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}  # of the field pooling_mode of version 6


def read(folder: Path) -> dict[str, Any] | None:
    """The embedding settings of a directory; None for one that is not sentence-transformers'. Errors: UserError for a
    file of another form."""
    if not (folder / MODULES).is_file():
        return None
    modules = _load(folder / MODULES)
    named = isinstance(modules, list) and all(isinstance(module, dict) for module in modules)
    if not named or not all(isinstance(module.get(key), str) for module in modules for key in ("type", "path")):
        raise UserError("is not a list of modules with type and path", where=folder / MODULES)
    if not modules or _kind(modules[0]) != "Transformer" or modules[0]["path"]:
        raise UserError(
            "its first module is not a Transformer in this folder",
            where=folder / MODULES,
            hint="name the folder that holds config.json and model.safetensors",
        )
    embedding: dict[str, Any] = {"pooling": "mean", "normalize": False, "max_len": None}
    if other := _settings(folder, embedding):
        return {**embedding, "other": other}
    for module in modules[1:]:
        kind, path = _kind(module), module["path"]
        if kind == "Pooling" and Path(path).name == path:
            pooling = _pooling(_object(folder / path / "config.json"))
            if pooling is None:
                return {**embedding, "other": f"the pooling of {path}/config.json"}
            embedding["pooling"] = pooling
        elif kind == "Normalize":
            embedding["normalize"] = True
        else:
            return {**embedding, "other": f"the module {kind[:40]} of {MODULES}"}
    return embedding


def _kind(module: Mapping[str, Any]) -> str:
    return str(module["type"]).rpartition(".")[2]


def _settings(folder: Path, embedding: dict[str, Any]) -> str | None:
    """Read the longest sequence into ``embedding``; returns a setting that nlpkit does not compute."""
    settings = _object(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    longest = settings.get("max_seq_length")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise UserError(f"max_seq_length is {str(longest)[:20]}, expected a number of tokens", where=folder / SETTINGS)
    embedding["max_len"] = longest
    return f"do_lower_case of {SETTINGS}" if settings.get("do_lower_case") else None


def _pooling(config: Mapping[str, Any]) -> str | None:
    if isinstance(config.get("pooling_mode"), str):
        return _NAMES.get(config["pooling_mode"])
    defaults = {"mean_tokens": True}
    chosen = [
        mode for mode in (*_MODES.values(), *_OTHERS) if config.get(f"pooling_mode_{mode}", defaults.get(mode, False))
    ]
    return next((ours for ours, theirs in _MODES.items() if [theirs] == chosen), None)


def _load(path: Path) -> Any:
    try:
        return json.loads(small.read(path, small.JSON))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None


def _object(path: Path) -> dict[str, Any]:
    value = _load(path)
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value
