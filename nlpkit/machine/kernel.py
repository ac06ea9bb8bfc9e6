"""How a kernel is written: three decorators, and the types of its parameters. Importing this imports no compiler.

A module of kernels has functions marked `kernel`, which Python calls, and `helper` and `inlined`, which kernels call.
A kernel's annotations are its signature: integers, floats, arrays of the types below, and named tuples of these. It
returns an integer or a float, allocates nothing and raises nothing. A module that uses numba's own decorators
(`nlpkit.machine.simd`) is imported by the compiler only; `nlpkit.machine.native` calls kernels by their module's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

LANES, WIDE = 8, 16  # floats per vector (nlpkit/machine/simd.py)


@dataclass(frozen=True)
class Array:
    """A C-contiguous array. ``sized``: Python passes an array, and the kernel may read its shape; else Python passes
    the address of the first number, which nothing checks: for kernels that are called thousands of times."""

    dtype: Any
    ndim: int = 1
    sized: bool = True


Bytes = Annotated[NDArray[np.uint8], Array(np.uint8)]
Ints = Annotated[NDArray[np.int32], Array(np.int32)]
Longs = Annotated[NDArray[np.int64], Array(np.int64)]
Shorts = Annotated[NDArray[np.uint16], Array(np.uint16)]
Words = Annotated[NDArray[np.uint32], Array(np.uint32)]
Floats = Annotated[NDArray[np.float32], Array(np.float32)]
Doubles = Annotated[NDArray[np.float64], Array(np.float64)]
Flags = Annotated[NDArray[np.bool_], Array(np.bool_)]
Bits = Annotated[NDArray[np.uint64], Array(np.uint64)]
Bytes2 = Annotated[NDArray[np.uint8], Array(np.uint8, 2)]
Longs2 = Annotated[NDArray[np.int64], Array(np.int64, 2)]
Floats2 = Annotated[NDArray[np.float32], Array(np.float32, 2)]

FloatsAt = Annotated[Any, Array(np.float32, sized=False)]
Int8At = Annotated[Any, Array(np.int8, sized=False)]
Int16At = Annotated[Any, Array(np.int16, sized=False)]
IntsAt = Annotated[Any, Array(np.int32, sized=False)]
LongsAt = Annotated[Any, Array(np.int64, sized=False)]


class Marked:
    """A function for the compiler. Python cannot call it: in Python it would be another function, and slow."""

    def __init__(self, function: Callable[..., Any], *, inline: bool, entry: bool) -> None:
        self.function, self.inline, self.entry = function, inline, entry
        self.__name__, self.__module__, self.__doc__ = function.__name__, function.__module__, function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.__name__} is called by compiled functions; Python calls kernels by Kernels(module)")


def kernel(function: Callable[..., Any]) -> Any:
    """A function that Python calls, through `nlpkit.machine.native.Kernels`."""
    return Marked(function, inline=False, entry=True)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels call."""
    return Marked(function, inline=False, entry=False)


def inlined(function: Callable[..., Any]) -> Any:
    """A function that is always compiled into whatever calls it."""
    return Marked(function, inline=True, entry=False)
