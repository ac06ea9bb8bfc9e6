"""Load compiled kernels: machine code from plain object files, without numba and in a few milliseconds.

The object of a module's kernels (nlpkit/machine/kernel.py says how they are written) is named by what they depend on
(nlpkit/machine/sources.py). For each level of CPUs (nlpkit/machine/level.py) it is looked up

1. in the installation (``objects`` beside this file): a wheel brings them, `python -m nlpkit.machine.build` too;
2. else in the user's cache, where its name has the compiler's version too;
3. else a process is started that compiles it and tries to load it; its output is saved in 2 if that can be written.

An object is loaded only if its sha256 is the recorded one; a damaged one is compiled anew.
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
_CACHED = 8  # objects of a module that stay in the cache, the newest ones
_ENGINES: list[Any] = []  # code lives as long as its engine
PREFIX = "nlpkit_"  # of a kernel's symbol in its object


@dataclass(frozen=True)
class Object:
    """A module's machine code; ``kernels``: name -> parameters and result (`nlpkit.machine.lowering`)."""

    kernels: Mapping[str, tuple[list[Any], str]]
    compiler: str
    code: bytes

    def to_bytes(self) -> bytes:
        """A line of JSON, then the code."""
        head = {"compiler": self.compiler, "kernels": self.kernels, "sha256": hashlib.sha256(self.code).hexdigest()}
        return json.dumps(head, sort_keys=True).encode() + b"\n" + self.code

    @staticmethod
    def from_bytes(content: bytes) -> Object | None:
        """None: it is damaged."""
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
    """The kernels of a module, as attributes, which are loaded with the first access. A running kernel does not hold
    Python's lock.

    A kernel that takes all arrays by address is a plain function of numbers. Any other takes arrays, and raises a
    TypeError for one of another type or number of dimensions, or that is not contiguous.
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
            function: Callable[..., Any] = self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{self._module} has no kernel {name}") from None
        return function

    def ready(self, *, compile: bool) -> bool:
        """Whether they are compiled already; with ``compile``, whether they can be."""
        if compile:
            with suppress(RunError):
                return bool(_object(self._module))
            return False
        return _find(self._module) is not None


@cache
def _object(module: str) -> Object:
    return _find(module) or _compile(module)


@cache
def key(module: str, wanted: level.Level) -> str:
    """A digest of everything that a module's kernels at a level depend on."""
    return sources.digest(module, [_lowering(), wanted.triple, wanted.cpu, wanted.features, str(wanted.wide)])


@cache
def _lowering() -> str:
    """A digest of the code that compiles kernels."""
    return sources.digest("nlpkit.machine.lowering", [], ("compile_module",))


def _find(module: str) -> Object | None:
    """The object for this level from the installation or the cache. Errors: UserError for a level of other CPUs."""
    wanted = level.chosen()
    if not level.runs(wanted):
        raise UserError(
            f"{level.VARIABLE} is {wanted.name}, code that this CPU does not run", hint=f"unset {level.VARIABLE}"
        )
    kernels = sources.entries(module)  # an object of another module under this name is as good as damaged
    for path in (OBJECTS / wanted.folder / f"{module}-{key(module, wanted)}", in_cache(module, wanted)):
        if path is not None and (stored := read(path)) is not None and sorted(stored.kernels) == kernels:
            return stored
    return None


def read(path: Path) -> Object | None:
    """None: it is missing or damaged."""
    with suppress(OSError):
        return Object.from_bytes(path.read_bytes())
    return None


def in_cache(module: str, wanted: level.Level) -> Path | None:
    """The path of an object that is compiled here in the user's cache; None: there is no cache."""
    folder = user_cache()
    if folder is None:
        return None
    compiled_by = hashlib.sha256(compiler().encode()).hexdigest()[:8]
    return folder / "kernels" / wanted.folder / f"{module}-{key(module, wanted)}-{compiled_by}"


def numba_version() -> str:
    """The version of numba that compiled the kernels of word vectors, which is not always the one that is installed."""
    stored = _find("nlpkit.vectors.word2vec.word2vec")
    compiled_by = compiler() if stored is None else stored.compiler
    return compiled_by.partition("numba ")[2].partition(",")[0]


def compiler() -> str:
    """The compiler of this installation, by name and version."""
    versions = [f"{name} {metadata.version(name)}" for name in ("numba", "llvmlite") if _has(name)]
    return ", ".join([*versions, f"Python {sys.version_info[0]}.{sys.version_info[1]}"])


def _has(name: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def _compile(module: str) -> Object:
    """Compile a module's kernels and save them in the cache if there is one. Errors: RunError."""
    wanted = level.chosen()
    events.emit("progress", label="compiling kernels, once:", done=1, total=1, unit="module")
    compiled = Object.from_bytes(compile_module(module, wanted))
    if compiled is None:
        raise RunError(f"the compiler's output for {module} is damaged")
    return compiled


def compile_module(module: str, wanted: level.Level) -> bytes:
    """Compile a module, save it in the user's cache if there is one, and return `Object.to_bytes`. Errors: RunError."""
    content = compile_apart(module, wanted.name, load=level.runs(wanted))
    if (path := in_cache(module, wanted)) is not None:
        with suppress(OSError):
            write(path, content, _CACHED)
    return content


def compile_apart(module: str, wanted: str, *, load: bool) -> bytes:
    """Compile a module in a subprocess and return `Object.to_bytes`. If ``load`` the subprocess loads it too, so that
    code that a system cannot link ends only that process. It imports no module from the user's working directory.
    Errors: RunError."""
    if not _has("numba"):
        raise RunError(
            f"{module} has to be compiled for this CPU, and numba, which does it, is not installed",
            hint="pip install numba",
        )
    root = str(Path(__file__).parents[2])  # after all installed packages
    code = f"import sys; sys.path.append({root!r}); from nlpkit.machine.build import child; child()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {level.VARIABLE: wanted, "NUMBA_OPT": "0", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-c", code, module, str(int(load))]
    process = subprocess.run(command, capture_output=True, env=environment, check=False)
    if process.returncode:
        errors = process.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RunError(f"{module} cannot be compiled for this CPU: {errors[-1] if errors else process.returncode}")
    return process.stdout


def write(path: Path, content: bytes, keep: int) -> None:
    """Write atomically; of a module's objects only the newest ``keep`` stay. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    with suppress(OSError):  # another process may be doing the same
        objects = path.parent.glob(f"{path.name.partition('-')[0]}-*")
        for old in sorted(objects, key=lambda item: item.stat().st_mtime_ns, reverse=True)[keep:]:
            old.unlink()


def callables(compiled: Object) -> dict[str, Callable[..., Any]]:
    """Each kernel of an object as a function."""
    functions = {}
    for name, address in _addresses(compiled).items():
        takes, returns = compiled.kernels[name]
        kinds = [ctypes.c_double if part == "float" else ctypes.c_int64 for part in _flat_kinds(takes)]
        result = ctypes.c_double if returns == "float" else ctypes.c_int64
        call: Any = ctypes.CFUNCTYPE(result, *kinds)(address)
        plain = all(isinstance(part, str) or (isinstance(part, dict) and not part["sized"]) for part in takes)
        functions[name] = call if plain else partial(_checked, name, call, [_reader(part) for part in takes])
    return functions


def _flat_kinds(takes: list[Any]) -> list[str]:
    kinds: list[str] = []
    for part in takes:
        if isinstance(part, list):
            kinds += _flat_kinds(part)
        elif isinstance(part, dict):
            kinds += ["int"] * (1 + (part["ndim"] if part["sized"] else 0))
        else:
            kinds.append(part)
    return kinds


def _addresses(compiled: Object) -> dict[str, int]:
    """Put machine code in memory, where it stays, and return each kernel's address."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(compiled.code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return {name: int(engine.get_function_address(PREFIX + name)) for name in compiled.kernels}


def _checked(name: str, call: Any, readers: list[Callable[..., None]], *arguments: Any) -> Any:
    numbers: list[Any] = []
    if len(arguments) != len(readers):
        raise TypeError(f"{name} takes {len(readers)} arguments, not {len(arguments)}")
    for value, reader in zip(arguments, readers, strict=True):
        reader(name, value, numbers)
    return call(*numbers)


def _reader(takes: Any) -> Callable[..., None]:
    """A function that appends the numbers that are passed for a parameter to a list."""
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
            expected = f"contiguous arrays of {dtype} and {ndim} dimensions"
            raise TypeError(f"{name} takes {expected}, not {value.dtype} and {value.ndim}")
        numbers.append(value.ctypes.data)
        numbers += value.shape

    return read
