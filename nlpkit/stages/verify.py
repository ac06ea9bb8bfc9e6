"""Run a file's stages again and compare the bytes.

A file records every input and option of its stage. `verify` finds the inputs again (by name and sha256), calls the same
function with the same options in a temporary folder, and compares the sha256 of the result. With ``chain`` the inputs
that stages made are made again too, from the files that no stage made.

The file may be a stranger's. Its record was checked when it was read (`nlpkit.artifact.recorded`) and is checked again
here, when it becomes a path or an argument: nothing is written outside of the temporary folder, which is private (0700)
and has an unpredictable name, and nothing is read but inputs whose sha256 the file records.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from nlpkit.artifact import file, promise, provenance
from nlpkit.artifact.diff import compare, first_difference, quote
from nlpkit.artifact.recorded import not_a_name
from nlpkit.base import events
from nlpkit.base.errors import CheckFailed, UserError
from nlpkit.machine import portable
from nlpkit.stages.call import arguments, stage_of

Json = Mapping[str, Any]
# Every Hugging Face directory has one of them.
_MODEL_FILES = ("config.json", "tokenizer.json", "vocab.txt", "vocab.json")
# How far below the current folder inputs are searched without --inputs.
DEPTH = 3
FILES = 10_000


def verify(
    path: Path, *, chain: bool = False, inputs: Path | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Prove a file; returns ``proven``, each stage with its sha256, and the first ``difference`` (None when proven).

    Inputs are looked for in the file's folder, in the current one and 3 levels below it, and under ``inputs``. Errors:
    UserError (exit 2) when inputs are missing, which names all of them, or the file is damaged; an input whose bytes
    have changed is a difference, not an error.
    """
    target = file.read(path)
    target.check()
    work = Path(tempfile.mkdtemp(prefix="nlpkit-verify-")).resolve()
    try:
        search = Search([path.resolve().parent, Path.cwd()], inputs)
        rerun = Rerun(work, search, target.metadata["history"] if chain else {}, threads)
        if missing := rerun.missing(target.provenance):
            raise search.missing(missing)
        try:
            rerun_path = rerun.stage(path.name, target.sha256, target.provenance)
        except CheckFailed as failure:
            return {"path": str(path), "proven": False, "stages": rerun.done, "difference": failure.what}
        difference = None
        if file.file_sha256(rerun_path) != target.sha256:
            differences = compare(target, file.read(rerun_path))
            difference = first_difference(differences)
            if not differences["tensors"] and target.tensors:
                difference += "; every tensor is the same"
        return {"path": str(path), "proven": difference is None, "stages": rerun.done, "difference": difference}
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass
class Search:
    """Where inputs are searched: in ``folders`` themselves, in everything under ``below``, and by name below the
    current folder, to `DEPTH` levels and `FILES` files."""

    folders: list[Path]
    below: Path | None

    def find(self, name: str, sha: str) -> Path | None:
        """The file (or Hugging Face directory) with this sha256, by name first; None: there is none. Errors:
        CheckFailed when only a file of the same name with other bytes is where inputs belong."""
        same_name: Path | None = None
        for path in self._candidates():
            if path.name == name:
                if self._sha(path) == sha:
                    return path
                same_name = same_name or path
        for path in self._nested:
            if path.name == name and self._sha(path) == sha:
                return path
        for path in self._candidates():  # renamed; only folders that a stage can have read
            if (path.is_file() or any((path / mark).is_file() for mark in _MODEL_FILES)) and self._sha(path) == sha:
                return path
        if same_name is not None:
            now = self._sha(same_name) or "none, it cannot be read"
            raise CheckFailed(f"input {name} has other bytes now: sha256 {now[:16]}, was {sha[:16]}")
        return None

    def named(self, name: str, sha: str) -> Path | None:
        """The file (or directory) of this name; the sha256 decides only where several have the name, because a corpus
        is long. None: there is none, or its folder cannot be read."""
        paths = self._by_name.get(name, [])
        return paths[0] if len(paths) == 1 else next((path for path in paths if self._sha(path) == sha), None)

    def missing(self, inputs: Iterable[tuple[str, str]]) -> UserError:
        """The error that names all of these inputs, (name, sha256), and where they were searched."""
        names = [f"{name} (sha256 {sha[:16]})" for name, sha in inputs]
        folders = ", ".join(map(str, dict.fromkeys([*self.folders, *([self.below] if self.below else [])])))
        return UserError(
            f"{'inputs' if names[1:] else 'input'} {', '.join(names)} {'are' if names[1:] else 'is'} not in {folders}, "
            f"nor {DEPTH} levels below the current folder",
            hint="--inputs DIR looks in a folder and below it",
        )

    def _candidates(self) -> Iterator[Path]:
        for folder in dict.fromkeys(self.folders):
            yield from sorted(item for item in folder.iterdir() if not item.name.startswith(".") and _readable(item))
        if self.below is not None:
            yield from sorted(item for item in self.below.rglob("*") if _readable(item))

    @cached_property
    def _nested(self) -> list[Path]:
        """What is below the current folder, without hidden folders and links to folders."""
        paths: list[Path] = []
        root = Path.cwd()
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            here = Path(folder)
            paths += [path for name in (*folders, *sorted(names)) if _readable(path := here / name)]
            if len(here.relative_to(root).parts) == DEPTH:
                folders.clear()
            if len(paths) > FILES:
                return paths[:FILES]
        return paths

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        paths: dict[Path, None] = {}
        with suppress(OSError):  # a folder that cannot be read
            paths |= dict.fromkeys(self._candidates())
        with suppress(OSError):
            paths |= dict.fromkeys(self._nested)
        by_name: dict[str, list[Path]] = {}
        for path in paths:
            by_name.setdefault(path.name, []).append(path)
        return by_name

    def _sha(self, path: Path) -> str | None:
        """The sha256, or None for what cannot be read."""
        try:
            return _sha256(path)
        except UserError:
            return None


def _readable(path: Path) -> bool:
    """A file or folder; not a pipe, which could block, nor a dangling link."""
    return path.is_file() or path.is_dir()


def _sha256(path: Path) -> str:
    return provenance.folder_sha256(path) if path.is_dir() else file.file_sha256(path)


@dataclass
class Rerun:
    """Stages called again. ``history`` (sha256 -> provenance) says which inputs are made again instead of searched."""

    work: Path
    search: Search
    history: Json
    threads: int | None
    done: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Path] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Path] = field(default_factory=dict)

    def missing(self, recorded: Json) -> list[tuple[str, str]]:
        """The inputs, (name, sha256), that are neither made again nor found, of all stages that will run."""
        missing: dict[tuple[str, str], None] = {}
        records, visited = [recorded], set()
        while records:
            for item in records.pop().get("inputs", []):
                name, sha = item["name"], item["sha256"]
                if sha not in self.history:
                    with suppress(CheckFailed):  # other bytes are a difference, which its stage tells
                        if self.search.find(name, sha) is None:
                            missing[name, sha] = None
                elif sha not in visited:
                    visited.add(sha)
                    records.append(self.history[sha])
        return list(missing)

    def stage(self, name: str, sha: str, recorded: Json) -> Path:
        """Run one stage again, its inputs first; returns what it wrote. Errors: CheckFailed for other bytes of
        an intermediate stage; the caller compares the last one's result."""
        if sha in self.outputs:
            return self.outputs[sha]
        stage = stage_of(str(recorded.get("command")))
        command = stage.command
        call = arguments(stage, recorded, self._input, where=name)
        if "threads" in stage.how and self.threads is not None:
            call["threads"] = self.threads
        versions = recorded.get("versions", {})
        if "torch" in versions and bool(recorded.get("portable")) != portable.on():
            raise UserError(
                f"was made {'in' if recorded.get('portable') else 'without'} portable mode",
                where=name,
                hint=f"{'nlpkit verify' if portable.on() else 'nlpkit --portable verify'} makes it so again",
            )
        changed = _other_versions(versions)
        if changed:
            events.note(f"{name}: {'; '.join(changed)}")
        output = self._inside(str(len(self.done)), name)
        events.note(f"{command}: making {name} again")
        try:
            stage.function(**call, output=output)
        except (ValueError, ArithmeticError) as error:  # options that the command line would have refused
            raise UserError(f"{command} cannot be run with the recorded options: {error}", where=name) from None
        if output.is_symlink():
            raise UserError("was replaced by a link while it was made", where=output)
        actual = _sha256(output)
        self.done.append(
            {
                "command": command,
                "name": name,
                "sha256": sha,
                "found": actual,
                "equal": actual == sha,
                "portable": bool(recorded.get("portable")),
            }
        )
        self.outputs[sha] = output
        if actual != sha and sha in self.history:
            because = f" ({'; '.join(changed)})" if changed else ""
            raise CheckFailed(f"{command} made {name} with other bytes: {actual[:16]}, was {sha[:16]}{because}")
        return output

    def _input(self, item: Json) -> Path:
        """One input under its recorded name: made again, or searched."""
        sha, name = item["sha256"], item["name"]
        if sha in self.history:
            path = self.stage(name, sha, self.history[sha])
        else:
            source = self.search.find(name, sha)
            if source is None:
                raise self.search.missing([(name, sha)])
            path = source
        if path.name == name and not (path.is_dir() and path.is_symlink()):
            return path
        if (sha, name) in self.aliases:
            return self.aliases[sha, name]
        alias = self._inside(f"input-{len(self.aliases)}", "stdin" if name == "-" else name)
        if path.is_dir():  # no link, because a folder's recorded name is that of the folder it resolves to
            shutil.copytree(path, alias, copy_function=_link)
        else:
            _link(path, alias)
        if name == "-":
            provenance.STDIN_AGAIN.add(alias)
        self.aliases[sha, name] = alias
        return alias

    def _inside(self, folder: str, name: str) -> Path:
        """A path in a new, empty folder inside the temporary one. Errors: a name that leads elsewhere."""
        if why := not_a_name(name):
            raise UserError(f"a recorded name is {ascii(name)[:80]}: a file name {why}")
        inner = self.work / folder
        inner.mkdir(mode=0o700)  # fails if anything is there, a link too
        if inner.resolve() != inner or (inner / name).parent != inner:
            raise UserError("leads out of the temporary folder", where=inner)
        return inner / name


def _link(path: str | Path, link: str | Path) -> None:
    Path(link).symlink_to(Path(path).resolve())


def _other_versions(old: Mapping[str, str]) -> list[str]:
    """Packages that are installed in another version than recorded, in words."""
    changed = []
    for name, version in old.items():
        try:
            now = promise.versions(() if name == "nlpkit" else (name,))[name]
        except PackageNotFoundError:
            now = "not installed"
        if now != version:
            changed.append(f"{name} was {quote(version)}, is {now}")
    return changed
