"""Kernels are compiled for a level that many CPUs share, not for the CPU at hand.

So the code is the same whether it is compiled here, on another machine, or before an installation. ``NLPKIT_LEVEL``
names another level than the best that this CPU runs; portable mode sets it (`nlpkit.machine.portable`). A CPU that
runs no level gets code for itself alone ("native").
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
    """``features`` are LLVM's, of which a CPU must have ``needs``; ``wide``: thirty-two registers of sixteen floats."""

    name: str
    machine: str
    cpu: str
    features: str = ""
    needs: tuple[str, ...] = ()
    wide: bool = False

    @property
    def triple(self) -> str:
        """LLVM's name of the system; the same on every Linux, whatever its C library."""
        if self.name != NATIVE and sys.platform == "linux":
            return f"{self.machine}-unknown-linux-gnu"
        from llvmlite import binding

        return str(binding.get_process_triple())

    @property
    def folder(self) -> str:
        """The folder of its objects, which are for one system too."""
        return f"{self.name}-{sys.platform}"


# By default LLVM prefers 256-bit registers, because some CPUs lower their clock for 512-bit ones.
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
    return Level(
        NATIVE,
        platform.machine(),
        str(binding.get_host_cpu_name()),
        str(features.flatten()),
        wide=bool(features.get("avx512f")),
    )


def runs(level: Level) -> bool:
    """Whether this CPU runs code of a level."""
    from llvmlite import binding

    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    has = binding.get_host_cpu_features() if level.needs else {}
    return level.name == NATIVE or (machine == level.machine and all(has.get(name) for name in level.needs))


def has_int8_products() -> bool:
    """Whether libraries may use the CPU's int8 dot products: it has them, and ``NLPKIT_LEVEL`` is not set."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    return VARIABLE not in os.environ and bool(has.get("avx512vnni") or has.get("avxvnni"))
