"""Kernels that run a moment after a program has begun: machine code kept as plain object files, loaded without numba.

`nlpkit.machine.compiled` is for work of minutes: importing numba and finding what it kept take half a second of the
processor. A command over a few megabytes of text is done by then. Here numba compiles a module's kernels once; their
object code lies in one file beside the module's bytecode, and llvmlite, numba's own library, puts it in memory in 20
ms.

A module of kernels has functions marked `helper`, which kernels call, and `kernel`, which Python calls with arrays and
integers and which return an integer. They allocate nothing. What is kept is named by the sources of the module and
of the helpers it imports, the versions of numba and llvmlite, and the processor.
Before what was compiled is used, another process tries to load it: code that a system cannot link ends that process
only, and `ready` says no from then on.

An `Entry` is the same for a large kernel of `nlpkit.machine.compiled` in another module, which is imported to compile
it only: numba and its compiler take a hundred megabytes that a run of hours would hold all the time.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events

# What numba's code asks of its run time when a kernel raises, which ours do not: they are given a function that does
# nothing, unless numba is there.
_ASKED = (
    "numba_gil_ensure", "numba_gil_release", "numba_unpickle", "numba_do_raise", "numba_runtime_build_excinfo_struct",
    "NRT_MemInfo_call_dtor", "NRT_incref", "NRT_decref", "NRT_Free",
)  # fmt: skip
_KEPT = 8  # files of a module, those of the newest sources
_NOTHING = ctypes.CFUNCTYPE(None)(lambda: None)
LANES, WIDE = (
    8,
    16,
)  # floats that kernels take together (nlpkit/machine/simd.py); here, as memory is laid out without numba
_ENGINES: list[Any] = []  # code lives as long as its engine

# What a parameter of a kernel is annotated with, in a module that leaves annotations as text: one of these arrays,
# contiguous, or `int`.
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
_TYPES = {"Bytes": "u1", "Ints": "i4", "Longs": "i8", "Doubles": "f8", "int": ""}


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that kernels of the same module call."""
    function.native = ()  # type: ignore[attr-defined]
    return function


def kernel(function: Callable[..., Any]) -> Kernel:
    """A function of arrays and integers that returns an integer."""
    return Kernel(function)


class Kernel:
    """What Python calls. Other threads run meanwhile. Errors: TypeError for another array than the function takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.__module__ = function, function.__module__
        named = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.parameters = [_TYPES[function.__annotations__[name].split(".")[-1]] for name in named]
        self._call: Any = None

    def __call__(self, *given: Any) -> int:
        if self._call is None:
            self._call = _library(self.function.__module__)[self.function.__name__]
        passed: list[int] = []
        for value, parameter in zip(given, self.parameters, strict=True):
            if not parameter:
                passed.append(value)
            else:
                if value.dtype.str[1:] != parameter or not value.flags.c_contiguous:
                    raise TypeError(f"{self.function.__name__} takes {parameter}, not {value.dtype}")
                passed += [value.ctypes.data, value.size]
        found: int = self._call(*passed)
        return found


def ready(module: str, *, compile: bool) -> bool:
    """Whether a module's kernels can be called. With ``compile`` they are compiled if they are not kept yet."""
    if compile:
        return bool(_library(module))
    path = _path(module)
    return path is not None and bool(_kept(path))


class Entry:
    """The kernel ``name`` of ``module``, a function of `nlpkit.machine.compiled` that makes no arrays, called without
    importing either. It takes arrays, numbers and named tuples of them, in every call of the same types, and returns an
    integer. Where nothing can be kept or loaded numba itself is called.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self._lock = threading.Lock()
        self._call: Any = None

    def __call__(self, *given: Any) -> int:
        with self._lock:
            if self._call is None:
                self._call = self._found(given)
        found: int = self._call(*given)
        return found

    def _found(self, given: Sequence[Any]) -> Callable[..., int]:
        shape = _shape(given)
        path = _place(self.module, _folder_sources(self.module), f"{self.name}-{json.dumps(shape)}")
        if path is None:
            return self._through_numba()
        objects = _kept(path)
        if objects is None:
            events.emit("progress", label="compiling for this processor, once:", done=1, total=1, unit="module")
            _write(path, {"outer": _object(_entry(getattr(import_module(self.module), self.name), given))})
            if subprocess.run([sys.executable, "-c", _TRY_FILE, str(path)], capture_output=True).returncode:
                _write(path, {})
            objects = _kept(path)
        if not objects:
            return self._through_numba()
        (address,) = _addresses(objects).values()
        flat = _flat(given)
        kinds = [ctypes.c_double if isinstance(value, float) else ctypes.c_int64 for value in flat]
        call: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)
        return lambda *values: int(call(*_flat(values)))

    def _through_numba(self) -> Callable[..., int]:
        dispatcher = getattr(import_module(self.module), self.name)
        return lambda *values: int(dispatcher(*values))


def by_place(module: str, kernels: Mapping[str, Sequence[Any]]) -> dict[str, Callable[..., int]]:
    """Kernels of ``module``, as those of an `Entry`, for whoever calls them a thousand times a second: each is called
    with numbers alone, and given of an array its place in memory, which nothing checks.

    ``kernels`` has for each name examples of what it is given. A kernel may not ask for the length of an array.
    """
    shapes = json.dumps([[name, *map(_shape, given)] for name, given in kernels.items()])
    path = _place(module, _folder_sources(module), shapes)
    objects, made = None if path is None else _kept(path), {}
    if not objects:
        if objects is None:
            events.emit("progress", label="compiling for this processor, once:", done=1, total=1, unit="module")
        whole = import_module(module)
        made = {name: _entry(getattr(whole, name), given, sized=False) for name, given in kernels.items()}
    if objects is None and path is not None:
        _write(path, {name: _object(one) for name, one in made.items()})
        if subprocess.run([sys.executable, "-c", _TRY_FILE, str(path)], capture_output=True).returncode:
            _write(path, {})
        objects = _kept(path)
    if objects:
        addresses = _addresses(objects)
    else:  # nothing can be kept or loaded: what was compiled lives in this process
        _ENGINES.append(made)
        addresses = {name: int(one.address) for name, one in made.items()}
    found: dict[str, Callable[..., int]] = {}
    for name, given in kernels.items():
        kinds = [ctypes.c_double if isinstance(value, float) else ctypes.c_int64 for value in given]
        call: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(addresses[name])
        found[name] = call
    return found


def _shape(value: Any) -> Any:
    """What a value is to a compiler, as JSON. Errors: TypeError for an array that is not contiguous."""
    if isinstance(value, tuple):
        return [type(value).__name__, *map(_shape, value)]
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise TypeError("a kernel takes contiguous arrays")
        return value.dtype.str + "," * value.ndim
    return "float" if isinstance(value, float) else "int"


def _flat(value: Any) -> list[Any]:
    """The numbers that stand for a value: of an array its place and its shape."""
    if isinstance(value, tuple):
        return [number for part in value for number in _flat(part)]
    if isinstance(value, np.ndarray):
        return [value.ctypes.data, *value.shape]
    return [float(value) if isinstance(value, float) else int(value)]


def _entry(dispatcher: Any, given: Sequence[Any], *, sized: bool = True) -> Any:
    """A compiled function of the numbers of `_flat`; without the lengths of arrays if not ``sized``."""
    import numba
    from numba.core import types as numba_types

    types: Any = numba_types
    space: dict[str, Any] = {"carray": numba.carray, "inner": dispatcher}
    names: list[str] = []
    signature: list[Any] = []

    def expression(value: Any) -> str:
        first = len(names)
        if isinstance(value, tuple):
            kind = "" if type(value) is tuple else type(value).__name__
            space[kind] = type(value)
            return f"{kind}({', '.join(map(expression, value))},)"
        if isinstance(value, np.ndarray):
            signature.append(types.CPointer(numba.from_dtype(value.dtype)))
            names.extend(f"a{first + number}" for number in range(1 + (value.ndim if sized else 0)))
            signature.extend([types.int64] * (len(names) - first - 1))
            return f"carray({names[first]}, ({''.join(name + ', ' for name in names[first + 1 :]) if sized else '0,'}))"
        names.append(f"a{first}")
        signature.append(types.float64 if isinstance(value, float) else types.int64)
        return names[first]

    body = ", ".join(map(expression, given))
    exec(f"def outer({', '.join(names)}):\n    return inner({body})", space)
    return numba.cfunc(types.int64(*signature))(space["outer"])


def _object(made: Any) -> tuple[str, bytes]:
    """The symbol and the code of a compiled function. Errors: RuntimeError when it needs what only numba has."""
    for function in made._library._final_module.functions:
        name = function.name
        if function.is_declaration and not name.startswith(("llvm.", "Py", "_Py", "mem")) and name not in _ASKED:
            raise RuntimeError(f"{made.__name__} needs {name}, which is not there without numba")
    return made._wrapper_name, made._library.serialize_using_object_code()[2][0]


@cache
def _library(module: str) -> dict[str, Any]:
    """Each kernel's function; nothing where kernels cannot be kept or loaded."""
    path = _path(module)
    if path is None:
        return {}
    kept = _kept(path)
    if kept is None:
        events.emit("progress", label="compiling for this processor, once:", done=1, total=1, unit="module")
        _write(path, _compile(import_module(module)))
        if subprocess.run([sys.executable, "-c", _TRY, module], capture_output=True).returncode:
            _write(path, {})
        kept = _kept(path)
    return _load(import_module(module), kept or {})


# Another name for the cache than the module's would not do: it is the file as it is that is tried.
_TRY = "import sys; from nlpkit.machine import native; assert native._library(sys.argv[1])"
_TRY_FILE = (
    "import sys; from pathlib import Path; from nlpkit.machine import native\n"
    "native._addresses(native._kept(Path(sys.argv[1])))"
)


def _load(module: ModuleType, objects: dict[str, tuple[str, bytes]]) -> dict[str, Any]:
    if not objects:
        return {}
    found = {}
    for name, address in _addresses(objects).items():
        width = sum(2 if parameter else 1 for parameter in getattr(module, name).parameters)
        call: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * width)(address)
        found[name] = call
    return found


def _addresses(objects: Mapping[str, tuple[str, bytes]]) -> dict[str, int]:
    """Put object code in memory, where it stays; where each function begins."""
    return {name: _address(symbol, code) for name, (symbol, code) in objects.items()}


def _address(symbol: str, code: bytes) -> int:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in _ASKED:
        if not llvm.address_of_symbol(name):
            llvm.add_symbol(name, ctypes.cast(_NOTHING, ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return int(engine.get_function_address(symbol))


def _marked(module: ModuleType) -> dict[str, Any]:
    """The kernels of a module, and the helpers that are written or imported there."""
    return {name: item for name, item in vars(module).items() if isinstance(item, Kernel) or hasattr(item, "native")}


def _compile(module: ModuleType) -> dict[str, tuple[str, bytes]]:
    """Kernel -> its symbol and object code, from copies of the functions that see each other compiled."""
    import numba
    from numba.core import types as numba_types

    types: Any = numba_types

    parts = [sys.modules[name] for name in dict.fromkeys(item.__module__ for item in _marked(module).values())]
    names = {name: item for part in [*parts, module] for name, item in vars(part).items()}
    marked = {name: item for part in [*parts, module] for name, item in _marked(part).items()}
    found = {}
    of = {"u1": types.uint8, "i4": types.int32, "i8": types.int64, "f8": types.float64}
    for name, item in marked.items():
        if not isinstance(item, Kernel):
            names[name] = numba.njit(error_model="numpy")(FunctionType(item.__code__, names, name, item.__defaults__))
    for name, item in marked.items():
        if isinstance(item, Kernel):
            inner = numba.njit(error_model="numpy")(FunctionType(item.function.__code__, names, name))
            signature: list[Any] = []
            taken, given = [], []
            for number, parameter in enumerate(item.parameters):
                signature += [types.CPointer(of[parameter]), types.int64] if parameter else [types.int64]
                taken += [f"a{number}", f"n{number}"] if parameter else [f"a{number}"]
                given.append(f"carray(a{number}, n{number})" if parameter else f"a{number}")
            space: dict[str, Any] = {"carray": numba.carray, "inner": inner}
            exec(f"def outer({', '.join(taken)}):\n    return inner({', '.join(given)})", space)
            made = numba.cfunc(types.int64(*signature), error_model="numpy")(space["outer"])
            found[name] = _object(made)
    return found


def _write(path: Path, objects: dict[str, tuple[str, bytes]]) -> None:
    """A line of JSON, then the objects; the name appears when the file is whole."""
    codes = b"".join(code for _, code in objects.values())
    listed = [[name, symbol, len(code)] for name, (symbol, code) in objects.items()]
    head = json.dumps({"kernels": listed, "sha256": hashlib.sha256(codes).hexdigest()}).encode() + b"\n"
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(head + codes)
    os.replace(file.name, path)
    with suppress(OSError):  # another process may be doing the same
        prefix = path.name.rpartition("-")[0]
        found = sorted(path.parent.glob(f"{prefix}-*"), key=lambda item: item.stat().st_mtime, reverse=True)
        for old in found[_KEPT:]:
            old.unlink()


def _kept(path: Path) -> dict[str, tuple[str, bytes]] | None:
    """What was written; None where nothing was, or it was damaged since."""
    try:
        head, _, codes = path.read_bytes().partition(b"\n")
        read = json.loads(head)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(codes).hexdigest() != read["sha256"]:
        return None
    found, begin = {}, 0
    for name, symbol, size in read["kernels"]:
        found[name] = (symbol, codes[begin : begin + size])
        begin += size
    return found


@cache
def _path(module: str) -> Path | None:
    """Where the code of a module of kernels is kept; None: nowhere."""
    parts = sorted({item.__module__ for item in _marked(import_module(module)).values()} | {module})
    return _place(module, [Path(str(sys.modules[name].__file__)) for name in parts])


def _folder_sources(module: str) -> list[Path]:
    """All sources beside a module and beside this file, any of which its kernels may call."""
    found = find_spec(module)
    assert found is not None and found.origin is not None
    return sorted({*Path(found.origin).parent.glob("*.py"), *Path(__file__).parent.glob("*.py")})


def _place(module: str, sources: Sequence[Path], of: str = "") -> Path | None:
    """A file for the code of a module that these sources make, and this processor; None: nothing can be written."""
    import llvmlite
    import llvmlite.binding as llvm

    numba, spec = find_spec("numba"), find_spec(module)
    assert numba is not None and numba.origin is not None and spec is not None and spec.origin is not None
    given = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_") and "CPU" in name}
    parts = [llvmlite.__version__, sys.version, sys.platform, llvm.get_host_cpu_name(), of,
             llvm.get_host_cpu_features().flatten(), json.dumps(given, sort_keys=True)]  # fmt: skip
    files = [*sources, Path(__file__), Path(numba.origin).with_name("_version.py")]  # importing numba to ask it is slow
    named = hashlib.sha256(b"\0".join([path.read_bytes() for path in files] + [part.encode() for part in parts]))
    source = Path(spec.origin)
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    own = os.environ.get("NUMBA_CACHE_DIR")
    for place in [Path(own)] if own else [source.parent / "__pycache__", Path(user) / "nlpkit"]:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK | os.X_OK):
                return place / f"native-{source.stem}-{named.hexdigest()[:16]}"
    return None
