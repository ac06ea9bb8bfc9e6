"""What an artefact promises of its bytes, and what the promise depends on: versions, the type of CPU, portable mode."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from functools import cache
from importlib import metadata

from nlpkit._version import __version__
from nlpkit.machine import native, portable

PROMISE = "same files, options, seed, versions and processor type: same bytes"
PORTABLE = "same files, options, seed and versions: same bytes on any x86-64 processor with AVX2"


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of nlpkit and of the packages that shape a result; of numba the one that compiled the kernels."""
    others = {name: native.numba_version() if name == "numba" else _version(name) for name in libraries}
    return {"nlpkit": __version__, **others}


@cache  # reading it takes as long as a step of a small model, and a run asks several times
def _version(name: str) -> str:
    return metadata.version(name)


def cpu_type(libraries: Collection[str]) -> str:
    """The type of CPU as far as it chooses arithmetic: architecture and, for torch and for gensim, vector width.

    It depends on what the stage uses, not on what else the process has imported: a notebook and `verify` write the
    same bytes as the command line.
    """
    if not {"torch", "gensim"} & {*libraries}:
        return platform.machine()
    from torch.backends import cpu

    return f"{platform.machine()} {cpu.get_cpu_capability()}{' portable' if is_portable(libraries) else ''}"


def is_portable(libraries: Collection[str]) -> bool:
    """Whether what a stage writes depends on portable mode, and the mode is on."""
    return "torch" in libraries and portable.on()


def promised(libraries: Collection[str]) -> dict[str, str]:
    """What an artefact records of its bytes, and of the CPU that computed them."""
    return {"promise": PORTABLE if is_portable(libraries) else PROMISE, "processor": cpu_type(libraries)}
