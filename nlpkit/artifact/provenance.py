"""Where an artefact came from: the command, the options that matter, and the sha256 of every input.

A stage begins with ``Run.start(name, locals(), inputs=...)`` and ends with ``run.write(...)``. Every argument of the
stage's function is then one of three: an input (hashed), a *how* (threads, log, paths: changes no byte), or an
option, which is recorded. Nothing can be forgotten, because ``locals()`` forgets nothing.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from nlpkit._version import __version__
from nlpkit.artifact import atomic, file, lock, made, recorded, safetensors
from nlpkit.artifact.paths import check_apart
from nlpkit.artifact.recorded import HOW
from nlpkit.artifact.stage import AlreadyMade, until_the_stage_ends
from nlpkit.base import events, small
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import RunError, UserError
from nlpkit.base.stdin import stdin
from nlpkit.base.world import world
from nlpkit.machine import native, portable

# Files that stand for a stdin that was read before: `verify` gives them, and their name is "-" again.
STDIN_AGAIN: set[Path] = set()
KEPT: dict[Path, str] = {}  # where a stream was put, and what the person who gave it calls it
# Kinds of tokenizer that another package runs, whose version may then change the bytes.
_RUN_BY = {"pipeline": "tokenizers"}
PROMISE = "same files, options, seed, versions and processor type: same bytes"
PORTABLE = "same files, options, seed and versions: same bytes on any x86-64 processor with AVX2"


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
        """Errors: it has other bytes than when the run began. Nothing is read again of a file whose size and times are
        what they were."""
        now = folder_sha256(self.path) if self.path.is_dir() else file.file_sha256(self.path)
        if now != self.sha256:
            raise RunError(f"has changed while it was read ({self.role}): sha256 was {self.sha256[:16]}, is {now[:16]}",
                           where=self.path, hint="run the command again when nobody writes the file")  # fmt: skip


@dataclass
class Run:
    """One stage at work: what it reads, what it was asked, where it writes."""

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
        for name, value in run.options.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{name.replace('_', '-')} is {value}, expected a finite number")
        for role in roles:
            run.inputs.extend(run._open(role, path) for path in _paths(arguments[role]))
        for given in run.inputs:
            if why := recorded.not_a_name(given.name):
                raise UserError(f"the result records this file's name, and a name {why}", where=given.path,
                                hint="rename the file")  # fmt: skip
        if why := recorded.not_a_past(run.provenance(), run.history()):
            raise UserError(f"{why}, with this stage", where=output,
                            hint="export an input, import it without nlpkit.json: it begins anew")  # fmt: skip
        try:
            canonical(run.provenance()).encode()
        except UnicodeEncodeError as error:
            shown = error.object[error.start : error.start + 1].encode("ascii", "backslashreplace").decode()
            raise UserError(f"a file name or an option is not UTF-8 text ({shown}), and the result records it",
                            where=command, hint="rename the file") from None  # fmt: skip
        until_the_stage_ends(_Blamed(run))
        if settled:
            run.settle()
        if not dry:
            events.emit("stage", name=command, output=str(output))
        return run

    def settle(self) -> None:
        """The options are final: end here if the target is there already and is not to be overwritten.

        Errors: AlreadyMade when this very run made it, which makes it new in time, so that Make is content; UserError
        when another one did (each difference is named), or when it is not what was written.
        """
        if self.force or self.dry or not self.output.exists():
            return
        try:
            found = file.read(self.output)
        except UserError:
            atomic.check_target(self.output, force=False)
            raise
        if differing := differences(found.provenance, self.provenance()):
            raise UserError("exists already, and another run made it: " + "; ".join(differing), where=self.output,
                            hint="--force overwrites it, or name another file with -o")  # fmt: skip
        found.check()
        if world().leads:
            os.utime(self.output)
        raise AlreadyMade(made.summary(self.output, found))

    def check_inputs(self) -> None:
        """Errors: an input has other bytes now than those that the result would record."""
        for given in self.inputs:
            given.check()

    def paths(self, role: str) -> list[Path]:
        """Where the inputs of a role can be read (stdin has been put in a file)."""
        return [given.path for given in self.inputs if given.role == role]

    def path(self, role: str) -> Path | None:
        """Where the one input of a role can be read; None when none was given."""
        found = self.paths(role)
        return found[0] if found else None

    def _open(self, role: str, path: Path) -> Input:
        if world().size > 1 and not (path.is_file() or path.is_dir()) and (str(path) == "-" or path.exists()):
            raise UserError("can be read once only, and several processes read it", where=path,
                            hint="put it in a file")  # fmt: skip
        if str(path) == "-":
            folder = tempfile.TemporaryDirectory(prefix="nlpkit-stdin-")
            self._spool.append(folder)
            path = Path(folder.name) / "stdin"
            KEPT[path] = "stdin"
            _keep(stdin(), path)
            return Input(role, "-", file.file_sha256(path), path, {})
        if path.is_dir():
            from nlpkit.artifact import exported

            sha = folder_sha256(path)
            return Input(role, path.resolve().name, sha, path, exported.history(path, sha))
        if not path.exists():
            raise UserError("no such file", where=path)
        small.check(path, pipes=True)
        if not path.is_file():  # a named pipe such as <(command): readable once, so it is kept
            folder = tempfile.TemporaryDirectory(prefix="nlpkit-pipe-")
            self._spool.append(folder)
            kept = Path(folder.name) / "pipe"
            KEPT[kept] = str(path)
            with open(path, "rb") as source:
                _keep(source, kept)
            return Input(role, "-", file.file_sha256(kept), kept, {})
        sha = file.file_sha256(path)
        history: dict[str, Any] = {}
        if path.suffix == ".safetensors":
            artifact = file.read(path)
            self._uses(artifact.tokenizer)
            history = {**artifact.metadata["history"], sha: artifact.provenance}
        return Input(role, "-" if path in STDIN_AGAIN else path.name, sha, path, history)

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
            "inputs": [given.record() for given in self.inputs],
            "versions": versions(self.libraries),
            **({"portable": True} if is_portable(self.libraries) else {}),
        }

    def history(self) -> dict[str, Any]:
        """sha256 -> provenance, of every file of nlpkit's behind the result."""
        return {sha: record for given in self.inputs for sha, record in given.history.items()}

    def write(
        self,
        tensors: Mapping[str, safetensors.Source],
        *,
        kind: str,
        config: Mapping[str, Any],
        tokenizer: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the result and say so; returns the stage's summary (output, kind, sha256, bytes). Of several processes
        one writes; the others know the first two only."""
        self._uses(tokenizer)
        if not world().leads:
            return {"output": str(self.output), "kind": kind}
        self.check_inputs()
        file.write(
            self.output, tensors, kind=kind, config=config, tokenizer=tokenizer, provenance=self.provenance(),
            history=self.history(), determinism=promised(self.libraries),
        )  # fmt: skip
        summary = {
            "output": str(self.output), "kind": kind, "sha256": file.file_sha256(self.output),
            "bytes": self.output.stat().st_size,
        }  # fmt: skip
        events.emit("done", name=self.command, **summary)
        return summary

    def plan(self, resolved: Mapping[str, Any] | None = None, **details: Any) -> dict[str, Any]:
        """What ``--dry-run`` prints: the run, and whatever the stage knows of its cost. ``resolved`` are options that
        were left to the stage, and what it takes for them."""
        options = {name: (resolved or {}).get(name, value) for name, value in self.options.items()}
        return {"dry_run": True, "output": str(self.output), **self.provenance(), "options": options, **details}


@dataclass(frozen=True)
class _Blamed:
    """What goes wrong inside the block because an input has changed (ids beyond the vocabulary, say) is told so."""

    run: Run

    def __enter__(self) -> None:
        """Nothing: inputs were hashed."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, (UserError, AlreadyMade)):
            self.run.check_inputs()


def _paths(value: Any) -> list[Path]:
    """An argument that is a path, several, or none, as a list."""
    return [] if value is None else [Path(path) for path in (value if isinstance(value, (list, tuple)) else [value])]


def _keep(source: BinaryIO, path: Path) -> None:
    """Put a stream in a file. Errors: UserError for a device, which may have no end (/dev/zero); RunError when there is
    no room for it."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a file behind it is none
        if stat.S_ISCHR(os.fstat(source.fileno()).st_mode) and not source.isatty():
            raise UserError("is a device, expected a file or a pipe", where=KEPT.get(path))
    try:
        with open(path, "wb") as spool:
            shutil.copyfileobj(source, spool)
    except OSError as error:  # by the name of the folder, which a person can see to: the file is nobody's
        raise atomic.cannot_write(error, path.parent.parent) from None


def unfinished(output: Path) -> Path:
    """Where the state of an unfinished run lies (`nlpkit.training.resume`)."""
    return output.with_name(output.name + ".resume")


def answers(output: Path) -> Path:
    """Where a teacher's answers lie while a run learns from them (`nlpkit.compression.replay`)."""
    return output.with_name(output.name + ".answers")


def _tidy(output: Path) -> None:
    """A run that was killed may have left what it was writing; one that was killed after its result had its name, and
    before what it worked with was removed, a state or a teacher's answers. Of the same command, and older than the
    result, they are of no use to anybody."""
    atomic.clean(atomic.target_of(output))
    for named, kind in ((unfinished, "resume"), (answers, "answers")):
        with suppress(OSError, ValueError, UserError):  # one of them is not there, or is something else, or has no name
            beside = named(output)
            if output.exists():
                atomic.clean(beside)
            older = beside.stat().st_mtime_ns <= output.stat().st_mtime_ns
            if older and file.read(beside, kind=kind).provenance == file.read(output).provenance:
                beside.unlink(missing_ok=True)


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of nlpkit and of the packages that make a result's bytes; of numba the one that compiled the kernels."""
    found = {name: native.numba_version() if name == "numba" else metadata.version(name) for name in libraries}
    return {"nlpkit": __version__, **found}


def processor(libraries: Collection[str]) -> str:
    """The processor's type, as far as it chooses arithmetic: architecture and, for torch and for gensim, vector width.

    It depends on what the stage uses, not on what else the process has imported: a notebook and `verify` write the
    same bytes as the command line.
    """
    if not {"torch", "gensim"} & {*libraries}:
        return platform.machine()
    from torch.backends import cpu

    return f"{platform.machine()} {cpu.get_cpu_capability()}{' portable' if is_portable(libraries) else ''}"


def is_portable(libraries: Collection[str]) -> bool:
    """Whether what a stage writes depends on portable mode, and was made in it."""
    return "torch" in libraries and portable.on()


def promised(libraries: Collection[str]) -> dict[str, str]:
    """What an artefact says of its bytes, and of where they were made."""
    return {"promise": PORTABLE if is_portable(libraries) else PROMISE, "processor": processor(libraries)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, what distinguishes two provenances."""
    found: list[str] = []
    for section in ("options", "versions"):
        old, new = before.get(section, {}), now.get(section, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append(f"{name.replace('_', '-')} was {old.get(name)}, is {new.get(name)}")
    names = {(item["role"], item["name"]): item["sha256"] for item in before.get("inputs", [])}
    others = {(item["role"], item["name"]): item["sha256"] for item in now.get("inputs", [])}
    for key in sorted({*names, *others}):
        if names.get(key) != others.get(key):
            state = "is new" if key not in names else "is missing" if key not in others else "has other bytes"
            found.append(f"{key[0]} {key[1]} {state}")
    if not found and _order(before) != _order(now):
        found.append("the inputs are in another order, or one is given more often")
    if bool(before.get("portable")) != bool(now.get("portable")):
        found.append(f"portable mode was {'on' if before.get('portable') else 'off'}, is "
                     f"{'on' if now.get('portable') else 'off'}")  # fmt: skip
    if before.get("command") != now.get("command"):
        found.insert(0, f"command was {before.get('command')}")
    return found


def _order(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(item["role"], item["sha256"]) for item in provenance.get("inputs", [])]


def folder_sha256(folder: Path) -> str:
    """sha256 of the names and hashes of a folder's files, so that a Hugging Face directory is an input like any."""
    import hashlib

    lines = [
        f"{file.file_sha256(path)}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
