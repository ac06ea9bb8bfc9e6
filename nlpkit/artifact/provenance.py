"""Where an artefact came from: the command, the options that matter, and the sha256 of every input.

A stage begins with ``Run.start(name, locals(), inputs=...)`` and ends with ``run.write(...)``. Every argument of the
stage's function is then one of three: an input (hashed), a *how* (threads, log, paths: changes no byte), or an
option, which is recorded. No argument can be missed, because ``locals()`` holds all of them.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from nlpkit.artifact import atomic, file, lock, recorded, safetensors
from nlpkit.artifact.beside import predictions, unfinished
from nlpkit.artifact.paths import check_apart, files_below
from nlpkit.artifact.promise import is_portable, promised, versions
from nlpkit.artifact.recorded import HOW
from nlpkit.artifact.stage import AlreadyMade, until_the_stage_ends
from nlpkit.artifact.summary import summary_of
from nlpkit.base import contents, events, limits, missing, small
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import RunError, UserError
from nlpkit.base.stdin import stdin
from nlpkit.base.world import world

# Files that `verify` passes in place of the stdin of the original run; they are recorded under the name "-".
STDIN_AGAIN: set[Path] = set()
STREAM_NAMES: dict[Path, str] = {}  # file that holds a stream's content -> what the user calls the stream
# Kinds of tokenizer that another package runs, so that its version may change the bytes.
_RUN_BY = {"pipeline": "tokenizers"}


_MODELS = ("model", "init", "teacher", "tokenizer")  # roles of files that are no text


@dataclass(frozen=True)
class Input:
    """One file (or Hugging Face directory) a run reads. ``name`` is its last part only: no path reaches a result."""

    role: str
    name: str
    sha256: str
    path: Path
    history: Mapping[str, Any]  # sha256 -> provenance, of this input and of everything behind it

    def record(self) -> dict[str, str]:
        return {"role": self.role, "name": self.name, "sha256": self.sha256}

    def check(self) -> None:
        """Errors: its bytes differ from those at the start of the run. A file whose size and times are unchanged is not
        read again."""
        now = folder_sha256(self.path) if self.path.is_dir() else file.file_sha256(self.path)
        if now != self.sha256:
            raise RunError(
                f"has changed while it was read ({self.role}): sha256 was {self.sha256[:16]}, is {now[:16]}",
                where=self.path,
                hint="run the command again when nobody writes the file",
            )


@dataclass
class Run:
    """One run of a stage: its inputs, its options, its output."""

    command: str
    output: Path
    options: dict[str, Any]
    inputs: list[Input]
    libraries: tuple[str, ...]
    force: bool = False
    fresh: bool = False
    dry: bool = False
    _spool: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list, repr=False)

    @classmethod
    def start(
        cls,
        command: str,
        arguments: Mapping[str, Any],
        *,
        inputs: Iterable[str],
        how: Iterable[str] = (),
        libraries: tuple[str, ...] = (),
        settled: bool = True,
    ) -> Run:
        """Check the target, lock it, hash the inputs, sort the arguments.

        ``inputs`` names the arguments that are files: a path, a list of paths, or None; ``-`` is stdin. ``how`` adds
        to `HOW`. ``libraries`` are the packages whose version may change the bytes. ``settled`` False: the options are
        not final, and the stage calls `settle` when they are. Errors: those of `settle`, of a target that cannot be
        written, of a path that is read and written, of another run of this target.
        """
        roles, hows = tuple(inputs), HOW | set(how)
        limits.check(command, arguments)
        output = Path(arguments["output"])
        if str(output) == "-":
            raise UserError("a result is a file, it cannot go to stdout", where="-o -")
        dry = bool(arguments.get("dry_run"))
        force, fresh = bool(arguments.get("force")), bool(arguments.get("fresh"))
        written = {name: Path(arguments[name]) for name in ("output", "log") if arguments.get(name) is not None}
        check_apart({**{role: _paths(arguments[role]) for role in roles}, **written})
        atomic.check_target(output, force=True)
        if world().leads and not dry:  # of several processes one writes
            until_the_stage_ends(lock.only_run(output))
            _tidy(output)
        run = cls(
            command=command,
            output=output,
            options={
                name: list(value) if isinstance(value, tuple) else value
                for name, value in sorted(arguments.items())
                if name not in hows and name not in roles
            },
            inputs=[],
            libraries=libraries,
            force=force,
            fresh=fresh,
            dry=dry,
        )
        for role in roles:
            run.inputs.extend(run._open(role, path) for path in _paths(arguments[role]))
        for item in run.inputs:
            if why := recorded.not_a_name(item.name):
                raise UserError(
                    f"the result records this file's name, and a name {why}", where=item.path, hint="rename the file"
                )
        if why := recorded.not_a_past(run.provenance(), run.history()):
            raise UserError(
                f"{why}, with this stage",
                where=output,
                hint="export an input, import it without nlpkit.json: it begins anew",
            )
        try:
            canonical(run.provenance()).encode()
        except UnicodeEncodeError as error:
            shown = error.object[error.start : error.start + 1].encode("ascii", "backslashreplace").decode()
            raise UserError(
                f"a file name or an option is not UTF-8 text ({shown}), and the result records it",
                where=command,
                hint="rename the file",
            ) from None
        until_the_stage_ends(_Blamed(run))
        if settled:
            run.settle()
        if not dry:
            events.emit("stage", name=command, output=str(output))
        return run

    def settle(self) -> None:
        """The options are final: end here if the target exists and is not to be overwritten.

        Errors: AlreadyMade when this very run wrote it; its modification time is renewed, so that Make is content.
        UserError when another run did (each difference is named), or when it is not what was written.
        """
        if self.force or self.dry or not self.output.exists():
            return
        try:
            artifact = file.read(self.output)
        except UserError:
            atomic.check_target(self.output, force=False)
            raise
        if differing := differences(artifact.provenance, self.provenance()):
            raise UserError(
                "exists already, and another run made it: " + "; ".join(differing),
                where=self.output,
                hint="--force overwrites it, or name another file with -o",
            )
        artifact.check()
        if world().leads:
            with suppress(PermissionError):  # another user's file
                os.utime(self.output)
        raise AlreadyMade(summary_of(self.output, artifact))

    def check_inputs(self) -> None:
        """Errors: the bytes of an input are no longer those that the result would record."""
        for item in self.inputs:
            item.check()

    def paths(self, role: str) -> list[Path]:
        """The files of a role (stdin was saved to a file)."""
        return [item.path for item in self.inputs if item.role == role]

    def path(self, role: str) -> Path | None:
        """The one file of a role; None without one."""
        paths = self.paths(role)
        return paths[0] if paths else None

    def _open(self, role: str, path: Path) -> Input:
        if world().size > 1 and not (path.is_file() or path.is_dir()) and (str(path) == "-" or path.exists()):
            raise UserError("can be read once only, and several processes read it", where=path, hint="put it in a file")
        if str(path) == "-":
            return self._saved(role, stdin(), "stdin", "stdin")
        if path.is_dir():
            from nlpkit.artifact import exported

            sha = folder_sha256(path)
            return Input(role, path.resolve().name, sha, path, exported.history(path, sha))
        if not path.exists():
            raise UserError("no such file", where=path, hint=missing.hint(path, model=role in _MODELS))
        small.check(path, pipes=True)
        if not path.is_file():  # a named pipe such as <(command): readable once, so its content is saved
            with open(path, "rb") as source:
                return self._saved(role, source, "pipe", str(path))
        sha = file.file_sha256(path)
        history: dict[str, Any] = {}
        if contents.holds_tensors(path):
            artifact = file.read(path)
            self._uses(artifact.tokenizer)
            history = {**artifact.metadata["history"], sha: artifact.provenance}
        return Input(role, "-" if path in STDIN_AGAIN else path.name, sha, path, history)

    def _saved(self, role: str, source: BinaryIO, name: str, shown: str) -> Input:
        """A stream as an input: a temporary file, which messages call ``shown``."""
        folder = tempfile.TemporaryDirectory(prefix=f"nlpkit-{name}-")
        self._spool.append(folder)
        path = Path(folder.name) / name
        STREAM_NAMES[path] = shown
        save_stream(source, path)
        return Input(role, "-", file.file_sha256(path), path, {})

    def _uses(self, tokenizer: Mapping[str, Any] | None) -> None:
        """Record the version of the package that runs a tokenizer, where one does."""
        library = _RUN_BY.get(str((tokenizer or {}).get("kind")))
        if library is not None and library not in self.libraries:
            self.libraries = (*self.libraries, library)

    def provenance(self) -> dict[str, Any]:
        """What is recorded of this run, and what must agree when it is resumed."""
        return {
            "command": self.command,
            "options": self.options,
            "seed": self.options.get("seed"),
            "inputs": [item.record() for item in self.inputs],
            "versions": versions(self.libraries),
            **({"portable": True} if is_portable(self.libraries) else {}),
        }

    def history(self) -> dict[str, Any]:
        """sha256 -> provenance, of every nlpkit file behind the result."""
        return {sha: record for item in self.inputs for sha, record in item.history.items()}

    def write(
        self,
        tensors: Mapping[str, safetensors.Source],
        *,
        kind: str,
        config: Mapping[str, Any],
        tokenizer: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the result and report it; returns the stage's summary (output, kind, sha256, bytes). Only the leading
        process writes; the others return the first two."""
        self._uses(tokenizer)
        if not world().leads:
            return {"output": str(self.output), "kind": kind}
        self.check_inputs()
        file.write(
            self.output,
            tensors,
            kind=kind,
            config=config,
            tokenizer=tokenizer,
            provenance=self.provenance(),
            history=self.history(),
            determinism=promised(self.libraries),
        )
        summary = {
            "output": str(self.output),
            "kind": kind,
            "sha256": file.file_sha256(self.output),
            "bytes": self.output.stat().st_size,
        }
        events.emit("done", name=self.command, **summary)
        return summary

    def plan(self, resolved: Mapping[str, Any] | None = None, **details: Any) -> dict[str, Any]:
        """What ``--dry-run`` prints: the run, and what the stage knows of its cost. ``resolved`` holds the values that
        the stage chose for options without one."""
        options = {name: (resolved or {}).get(name, value) for name, value in self.options.items()}
        return {"dry_run": True, "output": str(self.output), **self.provenance(), "options": options, **details}


@dataclass(frozen=True)
class _Blamed:
    """Reports a failure inside the block that a changed input caused (say ids beyond the vocabulary) as that change."""

    run: Run

    def __enter__(self) -> None:
        """Nothing to do: the inputs were hashed."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, (UserError, AlreadyMade)):
            self.run.check_inputs()


def _paths(value: Any) -> list[Path]:
    """An argument that is a path, a list of paths, or None, as a list."""
    return [] if value is None else [Path(path) for path in (value if isinstance(value, (list, tuple)) else [value])]


def save_stream(source: BinaryIO, path: Path) -> None:
    """Save a stream to a file. Errors: UserError for a device, which may have no end (/dev/zero); RunError when the
    disk is full."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a file behind it is no device
        if stat.S_ISCHR(os.fstat(source.fileno()).st_mode) and not source.isatty():
            raise UserError("is a device, expected a file or a pipe", where=STREAM_NAMES.get(path))
    try:
        with open(path, "wb") as spool:
            shutil.copyfileobj(source, spool)
    except OSError as error:  # names the folder, which the user can act on; the file is temporary
        raise atomic.cannot_write(error, path.parent.parent) from None


def _tidy(output: Path) -> None:
    """Remove what killed runs left: temporary files; and the state or the teacher's predictions of a run that was
    killed between renaming its result and removing them: they are of the same command as the result, and older."""
    atomic.clean(atomic.target_of(output))
    for named, kind in ((unfinished, "resume"), (predictions, "predictions")):
        with suppress(OSError, ValueError, UserError):  # missing, of another kind, or without a name
            beside = named(output)
            if output.exists():
                atomic.clean(beside)
            older = beside.stat().st_mtime_ns <= output.stat().st_mtime_ns
            if older and file.read(beside, kind=kind).provenance == file.read(output).provenance:
                beside.unlink(missing_ok=True)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two provenances, in words."""
    differing: list[str] = []
    for section in ("options", "versions"):
        old, new = before.get(section, {}), now.get(section, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                differing.append(f"{name.replace('_', '-')} was {old.get(name)}, is {new.get(name)}")
    names = {(item["role"], item["name"]): item["sha256"] for item in before.get("inputs", [])}
    others = {(item["role"], item["name"]): item["sha256"] for item in now.get("inputs", [])}
    for key in sorted({*names, *others}):
        if names.get(key) != others.get(key):
            state = "is new" if key not in names else "is missing" if key not in others else "has other bytes"
            differing.append(f"{key[0]} {key[1]} {state}")
    if not differing and _order(before) != _order(now):
        differing.append("the inputs are in another order, or one is given more often")
    if bool(before.get("portable")) != bool(now.get("portable")):
        differing.append(
            f"portable mode was {'on' if before.get('portable') else 'off'}, is "
            f"{'on' if now.get('portable') else 'off'}"
        )
    if before.get("command") != now.get("command"):
        differing.insert(0, f"command was {before.get('command')}")
    return differing


def _order(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(item["role"], item["sha256"]) for item in provenance.get("inputs", [])]


def folder_sha256(folder: Path) -> str:
    """sha256 of the names and hashes of a folder's files, so that a Hugging Face directory can be an input."""
    import hashlib

    lines = [
        f"{file.file_sha256(path)}  {path.relative_to(folder)}\n"
        for path in sorted(files_below(folder))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
