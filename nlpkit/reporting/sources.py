"""The files a report is made of: artefacts, logs, evaluations; and which of them tell of the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from nlpkit.artifact import file
from nlpkit.artifact.file import Artifact
from nlpkit.base import contents, small
from nlpkit.base.errors import UserError
from nlpkit.base.stdin import stdin
from nlpkit.reporting import log
from nlpkit.reporting.log import Logged

WANTED = "a report is made of artefacts (.safetensors), logs (--log) and results of nlpkit evaluate (-o)"


def clean(provenance: Any) -> dict[str, Any]:
    """A provenance with parts of the types they should have: a file may be from anywhere, and a log from any hand."""
    provenance = provenance if isinstance(provenance, dict) else {}
    inputs = provenance.get("inputs")
    return {
        "command": _text(provenance.get("command")),
        "options": _mapping(provenance.get("options")),
        "seed": provenance.get("seed"),
        "inputs": [
            {name: str(item.get(name)) for name in ("role", "name", "sha256")}
            for item in (inputs if isinstance(inputs, list) else [])
            if isinstance(item, dict)
        ],
        "versions": _mapping(provenance.get("versions")),
        "parameters": provenance.get("parameters"),
    }


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: its name and sha256 stand at the end of the page."""

    name: str
    sha256: str
    what: str


@dataclass(eq=False)
class Run:
    """One run: what its artefact says, what its log says, or both."""

    name: str
    artifact: Artifact | None = None
    logged: Logged | None = None

    @property
    def title(self) -> str:
        """The name without its ending, for people."""
        return self.name.removesuffix(".safetensors") or self.name

    @property
    def sha256(self) -> str | None:
        if self.artifact is not None:
            return self.artifact.sha256
        return None if self.logged is None or self.logged.done is None else _text(self.logged.done.get("sha256"))

    @property
    def provenance(self) -> dict[str, Any]:
        """Command, options, seed, inputs, versions, as far as they are known."""
        if self.artifact is not None:
            return clean(self.artifact.provenance)
        training = (self.logged.training if self.logged else None) or {}
        done = (self.logged.done if self.logged else None) or {}
        return clean({"command": done.get("name"), **training})

    @property
    def command(self) -> str:
        return self.provenance["command"] or "unknown"

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.provenance["options"])

    @property
    def kind(self) -> str | None:
        if self.artifact is not None:
            return self.artifact.kind
        return None if self.logged is None or self.logged.done is None else _text(self.logged.done.get("kind"))

    @property
    def parameters(self) -> int | None:
        """Number of trainable parameters of a model; None for other kinds of file."""
        if self.artifact is not None:
            if self.artifact.kind != "model":
                return None
            return sum(prod(entry.shape) for entry in self.artifact.tensors.values())
        count = self.provenance["parameters"]
        return count if isinstance(count, int) else None

    @property
    def training(self) -> dict[str, Any]:
        """What a model's file says of how it was trained: objective, steps, best step."""
        recorded = self.artifact.config.get("training") if self.artifact is not None else None
        return recorded if isinstance(recorded, dict) else {}

    @property
    def steps(self) -> int | None:
        """Number of updates."""
        saved = self.artifact is not None and self.artifact.kind == "resume"
        steps = self.artifact.config.get("step") if self.artifact is not None and saved else self.training.get("steps")
        if isinstance(steps, int):
            return steps
        loss = self.logged.curves.get("loss") if self.logged is not None and self.logged.unit == "step" else None
        return loss[-1][0] if loss else None

    @property
    def best(self) -> int | None:
        """The step of the best evaluation, whose weights were saved."""
        step = self.training.get("best_step")
        if isinstance(step, int):
            return step
        return self.logged.bests[-1] if self.logged is not None and self.logged.bests else None

    @property
    def unfinished(self) -> bool:
        if self.artifact is not None:
            return self.artifact.kind == "resume"
        return self.logged is not None and self.logged.done is None


@dataclass
class Sources:
    """All files that were passed, in their order."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)


def read(paths: Iterable[Path]) -> Sources:
    """Read every file and put together what tells of the same run: a log's result has the sha256 of an artefact; the
    log of an unfinished run records the same command, options and inputs as its saved state.

    Errors: UserError for a file that is none of the three, or that is passed twice.
    """
    sources = Sources()
    logs: list[Run] = []
    for path in paths:
        artifact, text, source = _open(path)
        if any(other.sha256 == source.sha256 for other in sources.files):
            raise UserError("has the same bytes as a file before it", where=path, hint="pass it once")
        if artifact is not None:
            sources.runs.append(Run(path.name, artifact))
        elif (result := _object(text)) is not None and "event" not in result:
            source = SourceFile(source.name, source.sha256, "evaluation")
            sources.evaluations.append(_evaluation(result, source.name))
        else:
            names = [_named(item, source.name) for item in log.read(text, source.name)]
            sources.runs += names
            logs += names
        sources.files.append(source)
    for run in logs:
        if same := [other for other in sources.runs if other.artifact is not None and _same(other, run)]:
            same[0].logged = run.logged
            sources.runs.remove(run)
    return sources


def _same(run: Run, logged: Run) -> bool:
    """Whether a log's run is that of a file."""
    if run.kind == "resume":
        names = ("command", "options", "inputs")
        return logged.unfinished and all(run.provenance[name] == logged.provenance[name] for name in names)
    return run.sha256 == logged.sha256


def _open(path: Path) -> tuple[Artifact | None, str, SourceFile]:
    if str(path) == "-":
        raw, name = small.take(stdin(), small.LOG, "-"), "-"
    elif path.is_dir():
        raise UserError("is a folder", where=path, hint=WANTED)
    elif path.suffix == ".resume" or contents.holds_tensors(path):
        artifact = file.read(path)
        return artifact, "", SourceFile(path.name, artifact.sha256, artifact.kind)
    else:
        try:
            raw, name = small.read(path, small.LOG, pipes=True), path.name
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror}", where=path) from None
    try:
        return None, raw.decode("utf-8"), SourceFile(name, hashlib.sha256(raw).hexdigest(), "log")
    except UnicodeDecodeError:
        raise UserError("is neither an artefact nor text", where=path, hint=WANTED) from None


def _object(text: str) -> dict[str, Any] | None:
    """The one JSON object that a text is; None when it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _evaluation(result: dict[str, Any], name: str) -> dict[str, Any]:
    """A result of `nlpkit evaluate`. Errors: an object of another form."""
    against = result.get("against", {})
    parts = [result.get("model"), result.get("data"), result.get("baselines", {}), against]
    if all(isinstance(part, dict) for part in parts):
        tables = [result.get("metrics"), result.get("difference", {}), against.get("metrics", {})]
        tables += result.get("baselines", {}).values()
        if all(isinstance(table, dict) and all(map(_interval, table.values())) for table in tables):
            return result
    raise UserError("is not a result of nlpkit evaluate", where=name, hint=WANTED)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _interval(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), (int, float)) and abs(value[name]) < log.HUGE for name in ("value", "low", "high")
    )


def _named(logged: Logged, log_name: str) -> Run:
    """A log's run by the name of its result; without one, by the log's."""
    output = (logged.done or {}).get("output") or (logged.training or {}).get("output")
    return Run(Path(output).name if isinstance(output, str) and output else log_name, logged=logged)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
