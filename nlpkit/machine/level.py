"""For which processors kernels are compiled: for a level of many, not for the one that is there.

So what is compiled here, at another's, or before an installation is the same code. ``NLPKIT_LEVEL`` names another level
than the best that this processor has; portable mode does (`nlpkit.machine.portable`). A processor of no level has code
of its own ("native").
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cache

from nlpkit.base.errors import UserError

VARIABLE = "NLPKIT_LEVEL"
NATIVE = "native"
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "movbe", "sse4.2")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@dataclass(frozen=True)
class Level:
    """``features`` are LLVM's, of which ``needs`` are what a processor must have; ``wide``: thirty-two registers of
    sixteen floats."""

    name: str
    machine: str
    cpu: str
    features: str = ""
    needs: tuple[str, ...] = ()
    wide: bool = False

    @property
    def triple(self) -> str:
        """The system in LLVM's words. Every Linux has the same, whatever its C library."""
        if self.name != NATIVE and sys.platform == "linux":
            return f"{self.machine}-unknown-linux-gnu"
        from llvmlite import binding

        return str(binding.get_process_triple())

    @property
    def folder(self) -> str:
        """Where objects for it lie: they are for a system too."""
        return f"{self.name}-{sys.platform}"


# LLVM prefers registers half as wide where it is not told otherwise, for processors that slow down in wide ones.
LEVELS = {
    "x86-64-v4": Level("x86-64-v4", "x86_64", "x86-64-v4", "-prefer-256-bit", _V4, wide=True),
    "x86-64-v3": Level("x86-64-v3", "x86_64", "x86-64-v3", "", _V3),
    "aarch64": Level("aarch64", "aarch64", "generic"),
}


def chosen() -> Level:
    """The level that kernels are compiled for. Errors: UserError for a name that no level has."""
    return _named(os.environ.get(VARIABLE) or _best())


@cache
def _best() -> str:
    return next((name for name in LEVELS if runs(LEVELS[name])), NATIVE)


@cache
def _named(name: str) -> Level:
    if name in LEVELS:
        return LEVELS[name]
    if name != NATIVE:
        raise UserError(f'{VARIABLE} is "{name}", expected {", ".join(LEVELS)} or {NATIVE}')
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return Level(NATIVE, platform.machine(), str(binding.get_host_cpu_name()), str(features.flatten()),
                 wide=bool(features.get("avx512f")))  # fmt: skip


def runs(level: Level) -> bool:
    """Whether this processor runs code of a level."""
    from llvmlite import binding

    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    has = binding.get_host_cpu_features() if level.needs else {}
    return level.name == NATIVE or (machine == level.machine and all(has.get(name) for name in level.needs))


def eight() -> bool:
    """Whether libraries may use instructions for products of 8 bits: this processor has them, and nobody asked for a
    level."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    return VARIABLE not in os.environ and bool(has.get("avx512vnni") or has.get("avxvnni"))
