"""What a model remembers of sequences that it has read a part of.

Shapes: B sequences, H heads, T new tokens, S tokens in all, D head width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from torch import Tensor


class State(Protocol):
    """``lengths``: how many tokens of each sequence were read, [B]. A model reads on from it and changes it."""

    lengths: tuple[int, ...]

    def take(self, rows_B: Tensor) -> Self:
        """The state of these sequences, in this order; a row may be taken several times (beam search)."""

    def copy(self) -> Self:
        """A copy, to be continued independently."""


class Memory:
    """Keys and values of one layer, [B, ...] each, in buffers that double when they are full. The attention chooses
    their layout; `extend` stores [B, H, S, D]."""

    def __init__(self) -> None:
        self.buffers: tuple[Tensor, ...] = ()

    def extend(self, sequences: slice, all_sequences: int, before: int, *new_BHTD: Tensor) -> tuple[Tensor, ...]:
        """Append tensors [B, H, T, D] of some ``sequences`` of all, of which ``before`` tokens are stored; returns all
        that is stored of these, [B, H, S, D] each."""
        end = before + new_BHTD[0].shape[2]
        if not self.buffers or self.buffers[0].shape[2] < end:
            old, size = self.buffers, max(64, 2 * end)
            self.buffers = tuple(new.new_empty(all_sequences, new.shape[1], size, new.shape[3]) for new in new_BHTD)
            for buffer, full in zip(self.buffers, old, strict=False):
                buffer[:, :, : full.shape[2]] = full
        for buffer, new in zip(self.buffers, new_BHTD, strict=True):
            buffer[sequences, :, before:end] = new
        return tuple(buffer[sequences, :, :end] for buffer in self.buffers)

    def take(self, rows_B: Tensor) -> Memory:
        """That of these sequences."""
        other = Memory()
        other.buffers = tuple(buffer.index_select(0, rows_B) for buffer in self.buffers)
        return other

    def copy(self) -> Memory:
        """A copy, to be extended independently."""
        other = Memory()
        other.buffers = tuple(buffer.clone() for buffer in self.buffers)
        return other


class Cache:
    """The `State` of a causal stack: keys and values of each layer (Pope et al. 2022, section 2.1). Sequences may have
    different lengths."""

    def __init__(self, lengths: Iterable[int] = ()) -> None:
        self.lengths = tuple(lengths)
        self.layers: list[Memory] = []

    def layer(self, number: int) -> Memory:
        """The memory of a layer; empty the first time."""
        while len(self.layers) <= number:
            self.layers.append(Memory())
        return self.layers[number]

    def take(self, rows_B: Tensor) -> Cache:
        other = Cache(self.lengths[row] for row in rows_B.tolist())
        other.layers = [memory.take(rows_B) for memory in self.layers]
        return other

    def copy(self) -> Cache:
        other = Cache(self.lengths)
        other.layers = [memory.copy() for memory in self.layers]
        return other
