"""Make libraries' arithmetic independent of the number of threads, and in portable mode of the CPU's vendor.

MKL still computes what no kernel of ours does (double and half precision, the products of Muon). On Intel CPUs it lets
the order of a sum depend on the number of threads; its strict mode does not, and costs nothing that could be measured.
So it is always set.

Portable mode: the same bytes on any x86-64 CPU with AVX2, of any vendor.

Libraries choose their arithmetic by the CPU. MKL's products and functions differ between vendors even for the same
instructions (with AVX2, an AMD and an Intel CPU add up a row of 300 in different orders); its COMPATIBLE branch does
not. torch's and numpy's loops differ by vector width, so all are limited to AVX2, and our own kernels are those of the
level that has it. All of it is set by environment variables before these libraries are loaded, and child processes
inherit it. ``nlpkit --portable`` or NLPKIT_PORTABLE=1 do so.

Only what torch computes is recorded as portable: nothing else of nlpkit depends on the CPU.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from functools import cache
from typing import Any

from nlpkit.base.errors import UserError
from nlpkit.machine import level

VARIABLE = "NLPKIT_PORTABLE"
_SETTINGS = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    level.VARIABLE: "x86-64-v3",
    # numpy's names up to 2.3, and from 2.4 on; it ignores those that it or the CPU does not have
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
}
# Prefixes of LLVM's names of AMD CPUs, and its name of an unknown one.
_NOT_INTEL = ("znver", "btver", "bdver", "amdfam", "generic")
_LIBRARIES = ("torch", "numpy")


def ask() -> None:
    """Switch to portable mode. Errors: UserError for another CPU, or when a library is loaded already."""
    if on():
        return
    if late := [name for name in _LIBRARIES if name in sys.modules]:
        raise UserError(
            f"{late[0]} is loaded already, and has chosen its arithmetic",
            hint=f"start Python with {VARIABLE}=1 or call nlpkit.machine.portable.ask() first",
        )
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    if platform.machine() not in ("x86_64", "AMD64") or not (has.get("avx2") and has.get("fma")):
        raise UserError("portable mode needs an x86-64 CPU with AVX2, which this one is not")
    os.environ.update(_SETTINGS, **{VARIABLE: "1"})


def on() -> bool:
    """Whether portable mode was switched on, in this process or in the one that started it."""
    return all(os.environ.get(name) == value for name, value in {**_SETTINGS, VARIABLE: "1"}.items())


@cache
def settle() -> None:
    """Make MKL's sums independent of threads; MKL reads the setting at its first product.

    In portable mode, give torch a square root that is rounded as IEEE 754 says. MKL's begins with an approximation of
    1 / sqrt(x), which differs between vendors, and AdamW divides by it.
    """
    if not on():
        if mode := _strict():
            os.environ.setdefault("MKL_CBWR", mode)
        return
    import numpy as np
    import torch

    def root(x: Any) -> Any:
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        return torch.from_numpy(np.asarray(np.sqrt(wide.numpy(force=True)))).to(x.dtype)

    def root_out(x: Any, *, out: Any) -> Any:
        return out.copy_(root(x))

    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():  # torch warns that a function is replaced, which is the point
        warnings.simplefilter("ignore")
        library.impl("sqrt", root, "CPU")
        library.impl("sqrt.out", root_out, "CPU")
        library.impl("sqrt_", lambda x: x.copy_(root(x)), "CPU")
    _ALIVE.append(library)


def _strict() -> str | None:
    """MKL's mode in which bits are the same for any number of threads. None on CPUs without it, which are not Intel's:
    there nothing was seen to depend on threads."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    if platform.machine() not in ("x86_64", "AMD64") or binding.get_host_cpu_name().startswith(_NOT_INTEL):
        return None
    return "AVX512,STRICT" if has.get("avx512f") else "AVX2,STRICT" if has.get("avx2") else None


_ALIVE: list[Any] = []  # a library that is freed removes its functions
