"""Large results in huge pages.

A block of 32 MB and more is a mapping of its own (nlpkit/machine/heap.py), new each time, and the system faults in and
clears its pages of 4 kB one by one at the first write: that can take half as long as the product that fills them. In
pages of 2 MB, which Linux gives on request, it takes a fifth of that. The memory is not read before it is written, so
no result depends on it.
"""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor, nn

from nlpkit.machine.heap import LARGE

_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)


def empty(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of this shape, with the type and device of ``like``."""
    size = math.prod(shape) * like.element_size()
    plain = type(like) in (Tensor, nn.Parameter) and like.device.type == "cpu"
    if size < LARGE or not plain or _HUGE_PAGES is None:
        return like.new_empty(shape)
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(_HUGE_PAGES)
    except OSError:  # no huge pages, or no memory, for which torch has the better message
        return like.new_empty(shape)
    return torch.frombuffer(memory, dtype=like.dtype, count=math.prod(shape)).view(shape)
