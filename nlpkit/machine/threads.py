"""The number of torch's threads, which changes no byte of a result (tests/bytes)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nlpkit.base.world import default_threads


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Use ``threads`` (None: all cores) inside the block, and restore the number after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or default_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
