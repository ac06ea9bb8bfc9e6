"""The artefact: one safetensors file that says what it is and where it came from.

Its metadata has ONE key, ``nlpkit``, with canonical JSON: ``format``, ``kind``, ``config``, ``tokenizer``,
``provenance``, ``history``, ``determinism``, ``tensors`` (sha256 of each tensor) and ``digest`` (sha256 of all
the rest), so that a flipped bit anywhere in the file is found when it is read. See docs/file-format.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nlpkit.artifact import atomic, recorded, safetensors, schema
from nlpkit.artifact.safetensors import Source, TensorInfo
from nlpkit.base import contents
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import RunError, UserError

FORMAT = 1
KEY = "nlpkit"
_DAMAGED = "the file was changed or damaged after it was written; make or fetch it again"
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "kind": (str,),
    "config": (dict,),
    "tokenizer": (dict, type(None)),
    "provenance": (dict,),
    "history": (dict,),
    "determinism": (dict,),
    "tensors": (dict,),
    "digest": (str,),
}


@dataclass(frozen=True)
class Artifact:
    """A file that was read and checked. Tensors stay on disk until `array` maps one."""

    path: Path
    metadata: dict[str, Any]
    reader: safetensors.Reader
    _checked: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self.reader.tensors

    @property
    def kind(self) -> str:
        return str(self.metadata["kind"])

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.metadata["config"])

    @property
    def tokenizer(self) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self.metadata["tokenizer"]
        return value

    @property
    def provenance(self) -> dict[str, Any]:
        return dict(self.metadata["provenance"])

    @cached_property
    def sha256(self) -> str:
        """sha256 of the whole file."""
        return file_sha256(self.path)

    def array(self, name: str) -> NDArray[Any]:
        """One tensor, memory-mapped and read-only; its bytes are checked against their sha256 the first time.

        Errors: a missing name or damaged bytes are a UserError.
        """
        if name not in self.tensors:
            raise UserError(f'has no tensor "{name}"', where=self.path, hint="nlpkit info lists its tensors")
        view = self.reader.array(name)
        if name not in self._checked:
            if safetensors.digest(view) != self.metadata["tensors"][name]:
                raise UserError(
                    f'tensor "{name}" does not have the bytes it was written with', where=self.path, hint=_DAMAGED
                )
            schema.check_values(self.kind, self.metadata["config"], name, view, self.tensors, self.path)
            self._checked.add(name)
        return view

    def of_kind(self, kinds: Collection[str]) -> Artifact:
        """This artefact. Errors: it is of none of these kinds."""
        if self.kind not in kinds:
            what = f"is a {self.kind} file; expected {' or '.join(kinds)}"
            raise UserError(what, where=self.path, hint=made_by(kinds))
        return self

    def check(self) -> None:
        """Check the bytes of every tensor."""
        for name in self.tensors:
            self.array(name)


def write(
    path: Path,
    tensors: Mapping[str, Source],
    *,
    kind: str,
    config: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any],
    history: Mapping[str, Any],
    determinism: Mapping[str, Any],
) -> None:
    """Write one artefact, atomically: the name appears when the file is complete."""
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "config": dict(config),
        "tokenizer": tokenizer,
        "provenance": dict(provenance),
        "history": dict(history),
        "determinism": dict(determinism),
        "tensors": {name: safetensors.digest(source) for name, source in tensors.items()},
    }
    metadata["digest"] = _digest(metadata, safetensors.table(tensors))
    with atomic.writing(path) as file:
        safetensors.write(file, tensors, {KEY: canonical(metadata)})


def _digest(metadata: Mapping[str, Any], entries: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in metadata.items() if name != "digest"}
    return hashlib.sha256(canonical([rest, entries]).encode()).hexdigest()


# Descriptions that a damaged artefact may have: the reader then says what is wrong with it.
_MAY_BE_OURS = ("a safetensors file", "a binary file", "an empty file", "nothing that can be read")
_MAKERS = {
    "tokenizer": "nlpkit tokenizer train CORPUS -o tok.safetensors",
    "tokens": "nlpkit tokens CORPUS --tokenizer tok.safetensors -o tokens.safetensors",
    "vectors": "nlpkit vectors train CORPUS -o vectors.safetensors",
    "cooccurrence": "nlpkit vectors cooccur CORPUS -o counts.safetensors",
    "model": "nlpkit pretrain tokens.safetensors -o model.safetensors",
}


def made_by(kinds: Collection[str]) -> str:
    """The command that makes a file of one of these kinds."""
    makers = [_MAKERS[name] for name in kinds if name in _MAKERS]
    return " or ".join([f"{maker} makes one" for maker in makers]) or "nlpkit info FILE says what a file of ours holds"


def read(path: Path, *, kind: str | Iterable[str] | None = None, wanted: str | None = None) -> Artifact:
    """Open an artefact: header, metadata and table are checked now, each tensor when it is first used.

    ``kind`` names what the caller can use, ``wanted`` what it looks for in files of any kind. Errors: UserError for
    anything that is not a whole artefact of that kind.
    """
    path = Path(path)
    allowed = (kind,) if isinstance(kind, str) else tuple(kind or ())
    if (what := contents.describe(path)) not in _MAY_BE_OURS:
        named = allowed or ((wanted,) if wanted else ())
        expected = " or ".join(f"a {name} file" for name in named) or "a file of nlpkit"
        raise UserError(f"is {what}, expected {expected}", where=path, hint=made_by(named))
    reader = safetensors.read(path)
    tensors, raw = reader.tensors, reader.metadata
    if set(raw) != {KEY}:
        raise UserError(
            "a safetensors file, but not one of nlpkit's",
            where=path,
            hint="a Hugging Face model is read as its directory: config.json beside it",
        )
    try:
        metadata = json.loads(raw[KEY])
    except (ValueError, RecursionError):
        raise UserError("its nlpkit metadata is not JSON", where=path, hint=_DAMAGED) from None
    if not isinstance(metadata, dict):
        raise UserError("its nlpkit metadata is not an object", where=path, hint=_DAMAGED)
    if metadata.get("format") != FORMAT:
        raise UserError(f"has format {str(metadata.get('format'))[:20]}; this nlpkit reads format {FORMAT}", where=path)
    for name, types in _FIELDS.items():
        if not isinstance(metadata.get(name), types) or name not in metadata:
            raise UserError(f'its metadata has no valid "{name}"', where=path, hint=_DAMAGED)
    data_start = min((info.begin for info in tensors.values()), default=0)
    order = sorted(tensors, key=lambda name: (-safetensors.DTYPES[tensors[name].dtype].itemsize, name))
    entries = {
        name: {
            "dtype": tensors[name].dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [tensors[name].begin - data_start, tensors[name].end - data_start],
        }
        for name in order
    }
    try:
        whole = canonical(metadata) == raw[KEY] and _digest(metadata, entries) == metadata["digest"]
    except (ValueError, RecursionError):  # NaN, half a surrogate pair, too deep: nothing that `write` writes
        whole = False
    if not whole or set(metadata["tensors"]) != set(tensors):
        raise UserError("its metadata does not have the bytes it was written with", where=path, hint=_DAMAGED)
    recorded.check(metadata["provenance"], metadata["history"], where=path)
    artifact = Artifact(path, metadata, reader)
    if allowed:
        artifact.of_kind(allowed)
    schema.check(metadata["kind"], metadata["config"], metadata["tokenizer"], tensors, path)
    return artifact


_hashes: dict[tuple[int, ...], str] = {}


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes; an unchanged file is read only once. Errors: UserError for what cannot be
    read, RunError for a file that is written meanwhile."""
    try:
        known = _state(os.stat(path))
        if known not in _hashes:
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if _state(os.fstat(file.fileno())) != known:
                    raise RunError(
                        "is being written while it is read",
                        where=path,
                        hint="run the command again when nobody writes it",
                    )
            _hashes[known] = sha256
        return _hashes[known]
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written; the time of the last change (ctime) cannot be set back."""
    return *safetensors.state(status), status.st_ctime_ns
