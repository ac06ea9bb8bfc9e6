"""Compile all kernels before they are needed, on all cores: ``python -m nlpkit.machine.build [LEVEL ...]``.

Objects that are up to date stay. Without an argument it compiles for this CPU's level. The objects go into the
installation (nlpkit/machine/native.py), from where a wheel takes them along.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from nlpkit.machine import level, native, sources

PACKAGE = Path(__file__).parents[1]


def child() -> None:
    """Compile one module, named on the command line, and write it to stdout."""
    module, load = sys.argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)  # anything else that is printed goes to stderr
    from nlpkit.machine import lowering

    compiled = lowering.compile_module(module, level.chosen())
    machine_code = native.Object(compiled.signatures, native.compiler(), compiled.code)
    if int(load):
        native.callables(machine_code)
    with os.fdopen(out, "wb") as stdout:
        stdout.write(machine_code.to_bytes())


def modules() -> list[str]:
    """nlpkit's modules with kernels, the largest first."""
    paths = [path for path in PACKAGE.rglob("*.py") if b"nlpkit.machine.kernel" in path.read_bytes()]
    paths = [path for path in sorted(paths, key=lambda path: (-path.stat().st_size, path))]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [name for name in names if sources.entries(name)]


def build(names: Sequence[str], folder: Path = native.OBJECTS) -> Iterator[tuple[int, int]]:
    """Bring the objects of some levels up to date; yields (compiled so far, to compile)."""
    wanted = [(module, level.LEVELS[name]) for name in names for module in modules()]
    paths = {
        (module, target): folder / target.folder / f"{module}-{native.key(module, target)}" for module, target in wanted
    }
    missing = [pair for pair in wanted if not _is_current(paths[pair])]

    def install(module: str, target: level.Level) -> None:
        path = native.in_cache(module, target)
        cached = None if path is None else native.read(path)
        content = native.compile_module(module, target) if cached is None else cached.to_bytes()
        native.write(paths[module, target], content, keep=1)

    yield 0, len(missing)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2) as pool:
        for done, future in enumerate(as_completed([pool.submit(install, *pair) for pair in missing]), 1):
            future.result()
            yield done, len(missing)


def _is_current(path: Path) -> bool:
    installed = native.read(path)
    return installed is not None and installed.compiler == native.compiler()


def main(names: Sequence[str]) -> None:
    """Compile, and show progress on stderr."""
    for done, total in build(names or [level.chosen().name]):
        if total:
            text = f"compiling kernels: {done} of {total}"
            redrawn = sys.stderr.isatty()
            sys.stderr.write(("\r" if redrawn else "") + text + ("\n" if done == total or not redrawn else ""))
            sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
