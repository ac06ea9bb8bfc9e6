"""Compile all kernels before they are needed, on all cores: ``python -m nlpkit.machine.build [LEVEL ...]``.

What is up to date stays. Without a level it is the one that this processor has. The objects go into the installation
(nlpkit/machine/native.py), from where a wheel takes them along.
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
    os.dup2(2, 1)  # whatever else is printed
    from nlpkit.machine import lowering

    made = lowering.compiled(module, level.chosen())
    found = native.Object(made.signatures, native.compiler(), made.code)
    if int(load):
        native.callables(found)
    with os.fdopen(out, "wb") as stdout:
        stdout.write(found.packed())


def modules() -> list[str]:
    """Those of nlpkit with kernels, the largest first."""
    paths = [path for path in PACKAGE.rglob("*.py") if b"nlpkit.machine.kernel" in path.read_bytes()]
    paths = [path for path in sorted(paths, key=lambda path: (-path.stat().st_size, path))]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [name for name in names if sources.entries(name)]


def build(names: Sequence[str], folder: Path = native.OBJECTS) -> Iterator[tuple[int, int]]:
    """Bring the objects of some levels up to date; yields how many are done, and of how many."""
    wanted = [(module, level.LEVELS[name]) for name in names for module in modules()]
    paths = {(module, to): folder / to.folder / f"{module}-{native.key(module, to)}" for module, to in wanted}
    missing = [pair for pair in wanted if not _whole(paths[pair])]

    def make(module: str, to: level.Level) -> None:
        cached = native.in_cache(module, to)
        found = None if cached is None else native.read(cached)
        native.write(paths[module, to], native.compiled(module, to) if found is None else found.packed(), keep=1)

    yield 0, len(missing)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2) as pool:
        for done, future in enumerate(as_completed([pool.submit(make, *pair) for pair in missing]), 1):
            future.result()
            yield done, len(missing)


def _whole(path: Path) -> bool:
    found = native.read(path)
    return found is not None and found.compiler == native.compiler()


def main(names: Sequence[str]) -> None:
    """The command."""
    for done, total in build(names or [level.chosen().name]):
        if total:
            sys.stderr.write(f"\rcompiling kernels: {done} of {total}" + ("\n" if done == total else ""))
            sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
