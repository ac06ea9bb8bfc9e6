"""Randomness is an address.

No generator state is ever saved, because none is needed: every random draw belongs to an address (seed, stage,
epoch or step, example), and a counter-based generator is created from it. So masks do not depend on the batch
size, on workers or on the step at which a run was resumed, and any batch of any run can be computed again by itself.

The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and
section 4.3): numpy's implementation where a sequence of draws is wanted, ours (`Address.uniform`, checked
against the paper's published vectors) where every token of a batch draws at its own counter.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Part = str | int

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Address:
    """The address of a random draw, e.g. ``Address(7, "mlm", epoch)``."""

    seed: int
    parts: tuple[Part, ...] = ()

    def at(self, *parts: Part) -> Address:
        """The address below this one."""
        return Address(self.seed, (*self.parts, *parts))

    def key(self) -> int:
        """128 bits from the whole address, equal on every machine and Python version."""
        text = json.dumps([self.seed, *self.parts], separators=(",", ":"), ensure_ascii=True)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")

    def generator(self) -> np.random.Generator:
        """A generator of a sequence of draws that starts at this address."""
        return np.random.Generator(np.random.Philox(key=self.key()))

    def torch_seed(self) -> int:
        """A seed for torch's generators (63 bits)."""
        return self.key() & 0x7FFF_FFFF_FFFF_FFFF

    def uniform(self, example: NDArray[np.int64], position: NDArray[np.int64]) -> NDArray[np.float64]:
        """Four independent draws from [0, 1) for each (example, position).

        Shapes: example [N], position [N] -> [4, N]. A draw depends on nothing but the seed, this address and its
        own (example, position): not on the other elements of the call.
        """
        words = philox(self.key(), example.astype(np.uint64), position.astype(np.uint64))
        return words.astype(np.float64) * 2.0**-32


def philox(key: int, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10 at the counters (low, high), 64 bits each; returns four 32-bit words, shape [4, N].

    The cipher takes a 64-bit key; the other half of our 128 is added to the counter's upper half, so that
    addresses with equal lower halves still draw different numbers.
    """
    high = high + np.uint64(key >> 64)
    return philox_4x32(np.stack([low & _LOW, low >> _HALF, high & _LOW, high >> _HALF]), key & (2**64 - 1))


def philox_4x32(counter: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Ten rounds on counters of four 32-bit words, shape [4, N], with a key of 64 bits."""
    word_0, word_1, word_2, word_3 = counter
    key_0, key_1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product_0, product_1 = word_0 * _MULTIPLIER_0, word_2 * _MULTIPLIER_1
        word_0 = (product_1 >> _HALF) ^ word_1 ^ np.uint64(key_0)
        word_2 = (product_0 >> _HALF) ^ word_3 ^ np.uint64(key_1)
        word_1, word_3 = product_1 & _LOW, product_0 & _LOW
        key_0, key_1 = (key_0 + _WEYL_0) & 0xFFFFFFFF, (key_1 + _WEYL_1) & 0xFFFFFFFF
    return np.stack([word_0, word_1, word_2, word_3])
