"""Compiled kernels, loaded: machine code out of plain object files, without numba and in some milliseconds.

The object of a module's kernels (nlpkit/machine/kernel.py says how they are written) is named by what they depend on
(nlpkit/machine/sources.py) and lies, for each level of processors (nlpkit/machine/level.py),

1. in the installation (``objects`` beside this file): a wheel brings them, `python -m nlpkit.machine.build` makes them;
2. else in the user's cache, named by the compiler's version too;
3. else nowhere: a process is started that compiles it and tries to load it, and its output is kept in 2, where that can
   be written.

An object is loaded only if its sha256 is the one that was written down; a damaged one is compiled anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.base import events
from nlpkit.base.cache import user_cache
from nlpkit.base.errors import RunError, UserError
from nlpkit.machine import level, sources

OBJECTS = Path(__file__).with_name("objects")
_OLD = 8  # objects of a module that are kept in the cache, the newest ones
_ENGINES: list[Any] = []  # code lives as long as its engine
PREFIX = "nlpkit_"  # of what a kernel is called in its object


@dataclass(frozen=True)
class Object:
    """A module's machine code; ``kernels``: name -> what it takes, and what it returns (`nlpkit.machine.lowering`)."""

    kernels: Mapping[str, tuple[list[Any], str]]
    compiler: str
    code: bytes

    def packed(self) -> bytes:
        """A line of JSON, then the code."""
        head = {"compiler": self.compiler, "kernels": self.kernels, "sha256": hashlib.sha256(self.code).hexdigest()}
        return json.dumps(head, sort_keys=True).encode() + b"\n" + self.code

    @staticmethod
    def unpacked(content: bytes) -> Object | None:
        """None: it is not whole."""
        line, _, code = content.partition(b"\n")
        try:
            head = json.loads(line)
            if head["sha256"] != hashlib.sha256(code).hexdigest():
                return None
            return Object(
                {name: tuple(signature) for name, signature in head["kernels"].items()}, head["compiler"], code
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class Kernels:
    """The kernels of a module, as attributes, which are loaded when the first is asked for. Other threads run while one
    works.

    A kernel whose arrays are all given by address is a plain function of numbers. Any other is given arrays, and
    refuses with a TypeError what has another type, another number of dimensions or holes.
    """

    def __init__(self, module: str) -> None:
        self._module, self._lock = module, threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        with self._lock:
            if name not in self.__dict__:
                self.__dict__.update(callables(_object(self._module)))
        try:
            found: Callable[..., Any] = self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{self._module} has no kernel {name}") from None
        return found

    def ready(self, *, compile: bool) -> bool:
        """Whether they can be called at once; with ``compile``, after being compiled."""
        if compile:
            with suppress(RunError):
                return bool(_object(self._module))
            return False
        return _kept(self._module) is not None


@cache
def _object(module: str) -> Object:
    return _kept(module) or _made(module)


@cache
def key(module: str, wanted: level.Level) -> str:
    """A name for what a module's kernels are at a level."""
    return sources.digest(module, [_lowering(), wanted.triple, wanted.cpu, wanted.features, str(wanted.wide)])


@cache
def _lowering() -> str:
    """How kernels are compiled."""
    return sources.digest("nlpkit.machine.lowering", [], ("compiled",))


def _kept(module: str) -> Object | None:
    """What was compiled for this level before."""
    wanted = level.chosen()
    if not level.runs(wanted):
        raise UserError(f"kernels are asked for at the level {wanted.name}, which this processor does not have",
                        hint=f"unset {level.VARIABLE}")  # fmt: skip
    for path in (OBJECTS / wanted.folder / f"{module}-{key(module, wanted)}", in_cache(module, wanted)):
        if path is not None and (found := read(path)) is not None:
            return found
    return None


def read(path: Path) -> Object | None:
    """None: there is no whole object."""
    with suppress(OSError):
        return Object.unpacked(path.read_bytes())
    return None


def in_cache(module: str, wanted: level.Level) -> Path | None:
    """Where the user's cache has, or would have, what is compiled here; None: nowhere."""
    folder = user_cache()
    if folder is None:
        return None
    made_by = hashlib.sha256(compiler().encode()).hexdigest()[:8]
    return folder / "kernels" / wanted.folder / f"{module}-{key(module, wanted)}-{made_by}"


def numba_version() -> str:
    """The version of numba that compiled the kernels of word vectors, which is not always the one that is installed."""
    found = _kept("nlpkit.vectors.word2vec.word2vec")
    made_by = compiler() if found is None else found.compiler
    return made_by.partition("numba ")[2].partition(",")[0]


def compiler() -> str:
    """Who would compile here."""
    versions = [f"{name} {metadata.version(name)}" for name in ("numba", "llvmlite") if _has(name)]
    return ", ".join([*versions, f"Python {sys.version_info[0]}.{sys.version_info[1]}"])


def _has(name: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def _made(module: str) -> Object:
    """Compile a module's kernels, and keep them if that can be. Errors: RunError."""
    wanted = level.chosen()
    events.emit("progress", label="compiling kernels, once:", done=1, total=1, unit="module")
    found = Object.unpacked(compiled(module, wanted))
    if found is None:
        raise RunError(f"the compiler gave no whole object for {module}")
    return found


def compiled(module: str, wanted: level.Level) -> bytes:
    """A module's `Object.packed`, which the user's cache keeps if that can be. Errors: RunError."""
    content = compile_apart(module, wanted.name, load=level.runs(wanted))
    if (path := in_cache(module, wanted)) is not None:
        with suppress(OSError):
            write(path, content, _OLD)
    return content


def compile_apart(module: str, wanted: str, *, load: bool) -> bytes:
    """A module's `Object.packed`, from a process of its own, which loads it too if ``load``: code that a system cannot
    link ends that process only. It does not look for modules in the folder where the user works. Errors: RunError."""
    if not _has("numba"):
        raise RunError(f"{module} has to be compiled for this processor, and numba, which does it, is not installed",
                       hint="pip install numba")  # fmt: skip
    root = str(Path(__file__).parents[2])  # behind everything that is installed
    code = f"import sys; sys.path.append({root!r}); from nlpkit.machine.build import child; child()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {level.VARIABLE: wanted, "NUMBA_OPT": "0", "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-P", "-c", code, module, str(int(load))], capture_output=True,
                          env=environment, check=False)  # fmt: skip
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RunError(f"{module} cannot be compiled for this processor: {said[-1] if said else done.returncode}")
    return done.stdout


def write(path: Path, content: bytes, keep: int) -> None:
    """The name appears when the file is whole; only the newest ``keep`` of a module's stay. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    with suppress(OSError):  # another process may be doing the same
        of_it = path.parent.glob(f"{path.name.partition('-')[0]}-*")
        for old in sorted(of_it, key=lambda item: item.stat().st_mtime_ns, reverse=True)[keep:]:
            old.unlink()


def callables(found: Object) -> dict[str, Callable[..., Any]]:
    """Each kernel of an object as a function."""
    made = {}
    for name, address in _addresses(found).items():
        takes, returns = found.kernels[name]
        kinds = [ctypes.c_double if part == "float" else ctypes.c_int64 for part in _flat_kinds(takes)]
        result = ctypes.c_double if returns == "float" else ctypes.c_int64
        call: Any = ctypes.CFUNCTYPE(result, *kinds)(address)
        plain = all(isinstance(part, str) or (isinstance(part, dict) and not part["sized"]) for part in takes)
        made[name] = call if plain else partial(_checked, name, call, [_reader(part) for part in takes])
    return made


def _flat_kinds(takes: list[Any]) -> list[str]:
    found: list[str] = []
    for part in takes:
        if isinstance(part, list):
            found += _flat_kinds(part)
        elif isinstance(part, dict):
            found += ["int"] * (1 + (part["ndim"] if part["sized"] else 0))
        else:
            found.append(part)
    return found


def _addresses(found: Object) -> dict[str, int]:
    """Put machine code in memory, where it stays; where each kernel begins."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(found.code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return {name: int(engine.get_function_address(PREFIX + name)) for name in found.kernels}


def _checked(name: str, call: Any, readers: list[Callable[..., None]], *given: Any) -> Any:
    numbers: list[Any] = []
    if len(given) != len(readers):
        raise TypeError(f"{name} takes {len(readers)} arguments, not {len(given)}")
    for value, reader in zip(given, readers, strict=True):
        reader(name, value, numbers)
    return call(*numbers)


def _reader(takes: Any) -> Callable[..., None]:
    """What puts the numbers that stand for a parameter behind others."""
    if isinstance(takes, list):
        parts = [_reader(part) for part in takes]

        def read_tuple(name: str, value: Any, numbers: list[Any]) -> None:
            for part, reader in zip(value, parts, strict=True):
                reader(name, part, numbers)

        return read_tuple
    if isinstance(takes, str):
        to: Any = float if takes == "float" else int
        return lambda name, value, numbers: numbers.append(to(value))
    descr, ndim, sized = takes["dtype"], takes["ndim"], takes["sized"]
    dtype: Any = np.dtype(descr if isinstance(descr, str) else [(str(field[0]), field[1]) for field in descr])

    def read(name: str, value: Any, numbers: list[Any]) -> None:
        if not sized:
            numbers.append(value)
            return
        if value.dtype != dtype or value.ndim != ndim or not value.flags.c_contiguous:
            raise TypeError(f"{name} takes contiguous arrays of {dtype} and {ndim} dimensions, not {value.dtype} and "
                            f"{value.ndim}")  # fmt: skip
        numbers.append(value.ctypes.data)
        numbers += value.shape

    return read
