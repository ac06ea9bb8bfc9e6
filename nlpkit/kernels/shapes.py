"""How large tiles and panels are, which depends on the processor."""

from __future__ import annotations

import os

import llvmlite.binding as llvm

ROWS = 6  # that the largest tile computes at once; more would not fit in the registers
# Columns of a panel: as many as tiles are wide. With AVX-512 there are twice as many registers, twice as wide.
_NARROW = any(name.startswith("NUMBA_CPU") for name in os.environ)  # portable mode compiles for older processors
_HAS = {} if _NARROW else dict(llvm.get_host_cpu_features())
PANEL = 64 if _HAS.get("avx512f") else 16
WHOLE = 64  # rows that are rounded before they are multiplied with weights of 8 bits
EIGHT = bool(_HAS.get("avx512vnni") or _HAS.get("avxvnni"))  # whether there are instructions for products of 8 bits
