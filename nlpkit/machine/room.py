"""Memory for large results.

A block of 32 MB and more is mapped by itself (nlpkit/machine/heap.py), each time anew, and the system finds and clears
its pages of 4 kB one by one when they are first written: that can take as long as half of the product that fills them.
In pages of 2 MB, which Linux gives who asks, it takes a fifth of that. What is in the memory is not looked at, so no
result depends on it.
"""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor, nn

from nlpkit.machine.heap import LARGE

_ASK = getattr(mmap, "MADV_HUGEPAGE", None)


def empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor of the kind of ``like`` and of this shape, in which there is anything."""
    size = math.prod(shape) * like.element_size()
    plain = type(like) in (Tensor, nn.Parameter) and like.device.type == "cpu"
    if size < LARGE or not plain or _ASK is None:
        return like.new_empty(shape)
    try:
        pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(_ASK)
    except OSError:  # a system without such pages, or without room, which torch says better
        return like.new_empty(shape)
    return torch.frombuffer(pages, dtype=like.dtype, count=math.prod(shape)).view(shape)
