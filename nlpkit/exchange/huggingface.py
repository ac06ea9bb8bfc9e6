"""Hugging Face model directories, in and out: config.json, model.safetensors, the tokenizer's files.

Reading takes safetensors only (one file or shards); a directory of pickles is refused. Writing adds ``nlpkit.json``,
because save_pretrained of transformers drops foreign metadata: our config of the model, its provenance, and the
sha256 of the weights that it describes. See docs/file-format.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nlpkit._version import __version__
from nlpkit.artifact import exported, file, safetensors, schema
from nlpkit.artifact.exported import SIDE, WEIGHTS
from nlpkit.base import events, small
from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError, choose
from nlpkit.exchange import poolings, sentence_transformers, tokenizer_files
from nlpkit.exchange.tokenizer_directory import holds_tokenizer
from nlpkit.models import FAMILIES
from nlpkit.models import family as family_of
from nlpkit.models.base import Family
from nlpkit.models.load import Loaded, restore, state_tensors
from nlpkit.models.names import HuggingFace
from nlpkit.tokenizers.base import Tokenizer

_INDEX = WEIGHTS + ".index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")

# Activation of a classifier with one output: sentence-transformers' name -> ours.
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
_MANY = "multi_label_classification"

# What of config.json is read beside the sizes, which the family's own config checks (nlpkit/models/base.py).
CONFIG = {
    "model_type": schema.text,
    "architectures": schema.maybe(schema.texts),
    "id2label": schema.maybe(schema.record()),
    "problem_type": schema.maybe(schema.text),
}
Arrays = dict[str, NDArray[Any]]


def holds_tokenizer_only(folder: Path) -> bool:
    """Whether a directory has a tokenizer's files and no weights, pickled ones included."""
    weights = (folder / WEIGHTS).exists() or (folder / _INDEX).exists() or _pickles(folder)
    return holds_tokenizer(folder) and not weights


def known() -> dict[str, Family]:
    """model_type -> the family that reads it."""
    families = [family_of(name) for name in FAMILIES]
    return {family.huggingface.model_type: family for family in families if family.huggingface is not None}


def read(folder: Path, *, tokenizer: bool = True) -> Loaded:
    """The model of a directory, in eval mode. ``tokenizer`` False leaves its tokenizer files alone; without any,
    the model has no tokenizer.

    Errors: UserError for a missing or damaged file, pickled weights, a model_type or a setting nlpkit cannot compute,
    a tensor that is missing, unknown or of another shape.
    """
    config = _json(folder / "config.json")
    for name, check in CONFIG.items():
        if name in config and (expected := check(config[name])):
            raise UserError(f"{name} is {ascii(config[name])[:60]}, expected {expected}", where=folder / "config.json")
    family = choose(known(), str(config.get("model_type")), field="model_type", where=folder / "config.json")
    try:
        names = _names(family)
        tensors = names.to_ours(_tensors(folder), unread=names.unread(config))
        ours = _config(config, family, tensors)
    except UserError as error:
        raise UserError(error.what, where=error.where or folder, hint=error.hint) from None
    network, family = restore(ours, tensors, where=folder)
    if training := exported.recorded_config(folder, "training"):
        ours["training"] = training
    if embedding := sentence_transformers.read(folder) or exported.recorded_config(folder, "embedding"):
        ours["embedding"] = embedding
    loaded_tokenizer = None
    if tokenizer and holds_tokenizer(folder):
        loaded_tokenizer = tokenizer_files.read(folder)
        if loaded_tokenizer.vocab_size > network.config.vocab_size:
            pieces = (
                f"its tokenizer has {loaded_tokenizer.vocab_size:,} pieces, the model {network.config.vocab_size:,}"
            )
            raise UserError(pieces, where=folder)
    return Loaded(network.eval(), loaded_tokenizer, family, ours, folder)


def write(folder: Path, loaded: Loaded, artifact: file.Artifact | None) -> str:
    """Write a model's files into an empty folder; ``artifact`` is the file it came from. Returns the
    class of Hugging Face's that reads them.

    Errors: UserError for a model that no class of Hugging Face's can hold.
    """
    names = _names(loaded.family)
    architecture = _architecture(names, tuple(loaded.model.heads), loaded)
    ours, shape, rewritten = state_tensors(loaded.model), loaded.model.config.to_json(), None
    if pooling := _pooling(loaded.config):
        try:
            ours, shape, rewritten = poolings.rewrite(pooling, names, ours, shape)
        except UserError as error:
            raise UserError(error.what, where=loaded.path, hint=error.hint) from None
    special = _special(loaded.tokenizer)
    try:
        unread = names.unread(special)
    except UserError as error:
        hint = "its tokenizer needs a pad token" if loaded.tokenizer else "it has no tokenizer, whose pad token says it"
        raise UserError(error.what, where=loaded.path, hint=hint) from None
    tensors = names.to_theirs(ours, architecture, unread=unread)
    if not names.architectures[architecture]:
        tensors = {name.removeprefix(names.prefix): value for name, value in tensors.items()}
    with open(folder / WEIGHTS, "wb") as target:
        safetensors.write(target, tensors, {"format": "pt"})
    source = {"version": __version__, "sha256": artifact.sha256 if artifact else None}
    config = {
        "architectures": [architecture],
        "model_type": names.model_type,
        **names.to_config(shape, unread=unread),
        **special,
        **_labels(loaded.config.get("task")),
        "dtype": "float32",
        "nlpkit": source,
    }
    _write_json(folder / "config.json", config)
    more = {"weights": file.file_sha256(folder / WEIGHTS), "config": loaded.config, "architecture": architecture}
    if rewritten:
        more["rewritten"] = rewritten
        events.note(
            f'its pooling "{pooling}" is written as weights that need the range of float32 or bfloat16: open it in '
            "one of these, not in float16"
        )
    write_side(folder, artifact, more)
    if loaded.tokenizer is not None:
        # A text that is to be continued gets no end; a classifier reads it, so there the tokenizer must add it.
        continued = Ability.CAUSAL in loaded.family.offers and "classify" not in loaded.model.heads
        template = None if continued else loaded.family.framing
        tokenizer_files.write(loaded.tokenizer, folder, max_len=loaded.model.config.max_len, template=template)
    return architecture


def write_side(folder: Path, artifact: file.Artifact | None, more: Mapping[str, Any]) -> None:
    """Write nlpkit.json: the provenance of the exported file, and ``more``."""
    side = {"format": file.FORMAT, "version": __version__, "sha256": artifact.sha256 if artifact else None, **more}
    if artifact is not None:
        side["name"] = artifact.path.name
        side |= {name: artifact.metadata[name] for name in ("provenance", "history", "determinism")}
    _write_json(folder / SIDE, side)


def _names(family: Family) -> HuggingFace:
    if family.huggingface is None:
        raise UserError(f'model "{family.name}" has no counterpart in Hugging Face transformers')
    names: HuggingFace = family.huggingface
    return names


def _architecture(names: HuggingFace, heads: tuple[str, ...], loaded: Loaded) -> str:
    """The class that holds these heads."""
    for architecture, held in names.architectures.items():
        if set(held) == set(heads):
            if (pooling := _pooling(loaded.config)) and (why := poolings.missing(pooling, names)):
                raise UserError(why, where=loaded.path, hint=poolings.hint(names))
            return architecture
    raise UserError(
        f"no class of Hugging Face's holds the heads {', '.join(heads)} of a {names.model_type} model",
        where=loaded.path,
    )


def _pooling(config: Mapping[str, Any]) -> str | None:
    """The pooling that a model's classifier reads; None where there is none."""
    pooling: str | None = (config.get("task") or {}).get("pooling")
    return pooling


def _special(tokenizer: Tokenizer | None) -> dict[str, int | None]:
    """The ids that generation and batching need. A role that the tokenizer lacks is null, not the class's default."""
    return {
        f"{role}_token_id": None if tokenizer is None else tokenizer.role(role)
        for role in ("pad", "bos", "eos", "cls", "sep")
        if tokenizer is None or role not in ("cls", "sep") or tokenizer.role(role) is not None
    }


def _labels(task: Mapping[str, Any] | None) -> dict[str, Any]:
    if task is None:
        return {}
    labels = task["labels"]
    numbered = {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    if len(labels) > 1:
        return {**numbered, "problem_type": "single_label_classification"}
    activation = task.get("activation", "sigmoid")
    problem = {"identity": "regression", "sigmoid": _MANY}[activation]
    theirs = next(name for name, ours in _ACTIVATIONS.items() if ours == activation)
    return {**numbered, "problem_type": problem, "sentence_transformers": {"activation_fn": theirs}}


def _config(config: Mapping[str, Any], family: Family, tensors: Arrays) -> dict[str, Any]:
    """Their config.json as the config of one of our files."""
    names = _names(family)
    fields = names.from_config(config) | {ours: False for ours, tensor in names.absent.items() if tensor not in tensors}
    held = {name.split(".")[1] for name in tensors if name.startswith("heads.")}
    for architecture in config.get("architectures") or ():
        held |= set(choose(names.architectures, architecture, field="architecture"))
    heads = [head for known in names.architectures.values() for head in known if head in held and head != "classify"]
    merged = {"family": family.name, "heads": list(dict.fromkeys(heads)), **fields}
    merged = {**family.config(**fields).to_json(), **merged}
    if "classify" in held:
        merged["task"] = _task(config, names, tensors)
    return merged


def _activation(config: Mapping[str, Any]) -> str:
    """The activation of a classifier's one output: as sentence-transformers records it for its cross-encoders (under
    two keys), else as transformers' pipelines compute it. Errors: an activation that nlpkit does not compute."""
    settings = config.get("sentence_transformers")
    named = settings.get("activation_fn") if isinstance(settings, Mapping) else None
    named = named or config.get("sbert_ce_default_activation_function")
    if named is not None:
        return choose(_ACTIVATIONS, str(named), field="activation of its one output")
    problem = config.get("problem_type")
    if problem == "single_label_classification":
        raise UserError("has one label, and problem_type single_label_classification: its probability is always 1")
    return "identity" if problem == "regression" else "sigmoid"


def _task(config: Mapping[str, Any], names: HuggingFace, tensors: Arrays) -> dict[str, Any]:
    rows = len(tensors["heads.classify.weight"]) if "heads.classify.weight" in tensors else 0
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification", *(("regression", _MANY) if rows == 1 else ())):
        raise UserError(
            f"problem_type is {problem} with {rows} outputs; nlpkit reads single_label_classification, "
            "and with one output regression"
        )
    named = config.get("id2label") or {}
    labels = [str(named.get(str(number), f"LABEL_{number}")) for number in range(rows)]
    if expected := schema.labels(labels):
        raise UserError(f"id2label has the labels {ascii(labels)[:60]}, expected {expected}")
    task = {
        "name": "classify",
        "labels": labels,
        "pooling": next(iter(names.pooling)),
        "text": "text",
        "pair": None,
        "label": "label",
    }
    return {**task, "name": "score", "activation": _activation(config)} if rows == 1 else task


def _tensors(folder: Path) -> Arrays:
    """The tensors of one safetensors file or of its shards, as 32-bit floats."""
    paths = [folder / WEIGHTS]
    if not paths[0].is_file():
        if not (folder / _INDEX).is_file():
            raise _no_weights(folder)
        shards = _json(folder / _INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise UserError("has no weight_map", where=folder / _INDEX)
        paths = [folder / Path(name).name for name in sorted(set(shards.values()))]
    tensors: Arrays = {}
    for path in paths:
        tensors |= _float32(path)
    return tensors


def _float32(path: Path) -> Arrays:
    """The tensors of one file: its header is checked by our reader, its tensors are read by the safetensors library,
    which has the dtypes that numpy lacks (bfloat16, float8)."""
    safetensors.read(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"the safetensors library cannot read it: {error}", where=path) from None
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in tensors.items()}


def _pickles(folder: Path) -> list[str]:
    return sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))


def _no_weights(folder: Path) -> UserError:
    pickles = _pickles(folder)
    if pickles:
        return UserError(
            f"holds its weights as a pickle or another format ({pickles[0]}), which nlpkit never opens",
            where=folder,
            hint="transformers' save_pretrained writes them as safetensors",
        )
    return UserError(f"has no {WEIGHTS}", where=folder, hint="a Hugging Face directory holds config.json beside it")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(small.read(path, small.JSON))
    except OSError as error:
        raise UserError(
            f"cannot read: {error.strerror}",
            where=path,
            hint=f"a Hugging Face directory has a config.json and a {WEIGHTS}",
        ) from None
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
