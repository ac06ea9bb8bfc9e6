"""Kernels are compiled once, for a level of processors, and what is kept never outlives what was compiled into it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from nlpkit.base import cache, events
from nlpkit.base.errors import RunError, UserError
from nlpkit.machine import build, level, native, sources
from nlpkit.machine.kernel import Marked
from nlpkit.machine.native import Kernels, Object

CALLER = """
from __future__ import annotations
import called
from nlpkit.machine.kernel import Doubles, Floats, FloatsAt, kernel

@kernel
def caller(x: int) -> int:
    return called.called(x) + 1

@kernel
def total(a: Doubles, scale: float) -> float:
    found = 0.0
    for place in range(len(a)):
        found += a[place]
    return found * scale

@kernel
def first(a: FloatsAt) -> float:
    return a[0]
"""
CALLED = """
from nlpkit.machine.kernel import helper, inlined

@inlined
def _twice(x):
    return FACTOR * x

@helper
def called(x):
    return _twice(x)

def beside(x):
    return x

TABLE = [2]
for number in range(1):
    TABLE[number] = 2
FACTOR = TABLE[0]
"""
RUN = (
    "import sys; from nlpkit.base import events; from nlpkit.machine import native; heard = []\n"
    "with events.listen(heard.append): print(native.Kernels('caller').caller(5))\n"
    "print(len([e for e in heard if e['event'] == 'progress']), 'numba' in sys.modules)"
)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two modules that Python finds, and a cache that is empty."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "caller.py").write_text(CALLER)
    (tmp_path / "room" / "called.py").write_text(CALLED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "room"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "room"))
    cache.user_cache.cache_clear()
    forget()
    yield tmp_path / "room"
    cache.user_cache.cache_clear()
    forget()


def forget() -> None:
    """What this process knows of sources and objects."""
    native._object.cache_clear()
    native.key.cache_clear()
    sources._module.cache_clear()
    sources._path.cache_clear()


def run(folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-P", "-c", RUN], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def kept(room: Path) -> list[Path]:
    return sorted(room.parent.glob("cache/nlpkit/kernels/*/caller-*"))


def test_a_change_of_what_a_kernel_reaches_is_seen(room: Path) -> None:
    """The compiler runs once, says so, and is not even imported by the process that waits for it. It starts where
    modules lie that have the names of Python's own, and runs none of them."""
    elsewhere = room.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("ctypes", "numba", "json"):
        (elsewhere / f"{name}.py").write_text("open('ran', 'w')\n")
    assert run(elsewhere) == ["11", "1", "False"]
    assert run(elsewhere) == ["11", "0", "False"]
    assert not (elsewhere / "ran").exists()
    (room / "called.py").write_text(CALLED.replace("= 2", "= 3"))
    assert run(elsewhere) == ["16", "1", "False"]
    assert len(kept(room)) == 2


@pytest.mark.parametrize(
    ("before", "after", "other"),
    [
        ("return x\n", "return x + 1\n", False),  # a function that no kernel reaches
        ("def _twice(x):\n", 'def _twice(x):\n    """Text."""\n', False),
        ("return FACTOR * x", "return x * FACTOR", True),
        ("TABLE[number] = 2", "TABLE[number] = 3", True),  # a constant that a loop makes
        ("@inlined", "@helper", True),
    ],
)
def test_what_names_an_object(room: Path, before: str, after: str, other: bool) -> None:
    first = sources.digest("caller", [])
    assert before in CALLED
    (room / "called.py").write_text(CALLED.replace(before, after))
    forget()
    assert (sources.digest("caller", []) != first) == other


def test_layers_are_not_in_any_key() -> None:
    """Nor anything else above the kernels and their helpers; and whatever a kernel does call is."""
    import importlib

    names = build.modules()
    assert len(names) >= 10
    for module in names:
        reached = sources.reached(module, sources.entries(module))
        rooms = {where.split(".")[1] for where, _ in reached}
        assert rooms <= {"machine", "kernels", "vectors", "tokenizers"}
        waiting = [getattr(importlib.import_module(module), name) for name in sources.entries(module)]
        seen: set[int] = set()
        while waiting:
            marked = waiting.pop()
            if id(marked) in seen:
                continue
            seen.add(id(marked))
            assert (marked.__module__, marked.__name__) in reached
            waiting += called_by(marked.function)


def called_by(function: FunctionType) -> list[Marked]:
    """Functions for the compiler that a function names, by themselves or in a module."""
    found: list[Any] = [function.__globals__.get(name) for name in function.__code__.co_names]
    for module in [item for item in found if hasattr(item, "__spec__")]:
        found += [getattr(module, name, None) for name in function.__code__.co_names]
    return [item for item in found if isinstance(item, Marked)]


def test_calls_are_checked(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be kept, what was compiled is used all the same."""
    monkeypatch.setattr(native, "user_cache", lambda: None)
    kernels, numbers = Kernels("caller"), np.array([1.0, 2.5])
    assert kernels.total(numbers, 2) == 7.0
    assert kernels.first(np.array([4, 5], np.float32).ctypes.data) == 4.0
    for wrong in (np.zeros(3, np.float32), np.zeros((2, 2)), np.zeros(8)[::2]):
        with pytest.raises(TypeError, match="total takes contiguous arrays of float64"):
            kernels.total(wrong, 1.0)
    with pytest.raises(TypeError, match="takes 2 arguments"):
        kernels.total(numbers)
    with pytest.raises(AttributeError, match="no kernel nothing"):
        _ = kernels.nothing
    assert not kept(room)


def test_the_same_bytes_wherever_and_for_whom_they_are_made(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An AArch64 object cannot be run here; that it is one for that processor is all that is seen."""
    first = native.compile_apart("caller", "aarch64", load=False)
    moved = tmp_path / "moved"
    room.rename(moved)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")  # is numba's, and no matter of ours
    monkeypatch.setenv("PYTHONPATH", str(moved))
    assert native.compile_apart("caller", "aarch64", load=False) == first
    found = Object.from_bytes(first)
    assert found is not None and set(found.kernels) == {"caller", "total", "first"}
    if sys.platform == "linux":
        assert found.code[:4] == b"\x7fELF" and int.from_bytes(found.code[18:20], "little") == 183


def test_damage_is_seen() -> None:
    whole = Object({"a": (["int"], "int")}, "nobody", b"code").to_bytes()
    assert Object.from_bytes(whole) == Object({"a": (["int"], "int")}, "nobody", b"code")
    for damaged in (whole[:-1], whole + b"x", whole.replace(b"code", b"cods"), whole[:20], b"", b"[]\n", b"\xff\n"):
        assert Object.from_bytes(damaged) is None


def object_of(module: str) -> Object:
    return Object({name: (["int"], "int") for name in sources.entries(module)}, "nobody", b"code")


def test_an_object_of_another_module_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "nlpkit.tokenizers.kernels"
    names = sources.entries(module)
    for kernels, loaded in (({name: ([], "int") for name in names}, True), ({"other": ([], "int")}, False)):
        stored = Object(kernels, "numba 0", b"code")
        monkeypatch.setattr(native, "read", lambda path, stored=stored: stored)
        assert (native._find(module) is stored) is loaded


def test_a_damaged_object_is_made_anew(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    content = object_of("caller").to_bytes()
    monkeypatch.setattr(native, "compile_apart", lambda *given, **how: made.append(1) or content)
    for _ in range(2):
        native._object("caller")
        native._object.cache_clear()
    assert len(made) == 1
    kept(room)[0].write_bytes(content[:-1])
    native._object("caller")
    assert len(made) == 2 and kept(room)[0].read_bytes() == content


def test_a_kernel_that_needs_numba_when_it_runs_is_refused(room: Path) -> None:
    (room / "needy.py").write_text(
        "import numpy as np\nfrom nlpkit.machine.kernel import Doubles, kernel\n"
        "@kernel\ndef needy(a: Doubles) -> int:\n    return len(np.unique(a))\n"
    )
    with pytest.raises(RunError, match="needy cannot be compiled for this CPU"):
        Kernels("needy").needy(np.zeros(3))
    assert not Kernels("needy").ready(compile=True)


def test_without_a_compiler_it_is_said_what_to_do(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_has", lambda name: False)
    with pytest.raises(RunError, match="numba, which does it, is not installed"):
        Kernels("caller").caller(1)
    assert not Kernels("caller").ready(compile=True)


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert level.runs(level.chosen())
    monkeypatch.setenv(level.VARIABLE, "x86-64-v9")
    with pytest.raises(UserError, match="x86-64-v9"):
        level.chosen()
    monkeypatch.setenv(level.VARIABLE, "native")
    assert level.chosen().name == "native" and level.chosen().triple
    monkeypatch.setattr(level, "runs", lambda wanted: False)
    with pytest.raises(UserError, match="does not run"):
        native._find("nlpkit.kernels.adamw_code")


def test_old_objects_are_removed(tmp_path: Path) -> None:
    for number in range(12):
        native.write(tmp_path / f"module-{number}", b"x", keep=8)
        native.write(tmp_path / "other-1", b"x", keep=8)
        os.utime(tmp_path / f"module-{number}", (number, number))
    assert {path.name for path in tmp_path.iterdir()} == {f"module-{number}" for number in range(4, 12)} | {"other-1"}


def test_who_waits_is_told(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compile_apart", lambda *given, **how: object_of("caller").to_bytes())
    heard: list[dict[str, Any]] = []
    with events.listen(heard.append):
        native._object("caller")
        native._object.cache_clear()
        native._object("caller")
    assert [record["label"] for record in heard] == ["compiling kernels, once:"]


def test_progress_of_the_build_in_a_file_is_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nlpkit.machine import build

    monkeypatch.setattr(build, "build", lambda names: iter([(0, 2), (1, 2), (2, 2)]))
    build.main(["any"])
    assert capsys.readouterr().err.splitlines() == [f"compiling kernels: {done} of 2" for done in range(3)]
