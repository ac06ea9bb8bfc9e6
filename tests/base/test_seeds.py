"""Philox against the published vectors and numpy, and addresses that depend on nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nlpkit.base.seeds import Address, philox_4x32

# Salmon et al. 2011, their Random123 distribution's known answers for philox4x32 with 10 rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    low, high = words(key)
    found = philox_4x32(np.array(words(counter), np.uint64)[:, None], high << 32 | low)
    assert found[:, 0].tolist() == words(answer)


def test_draws_belong_to_their_place_alone() -> None:
    rng = Address(3, ("mask", 5))
    examples, positions = np.array([7, 7, 9, 2**40]), np.array([0, 1, 0, 5])
    together = rng.uniform(examples, positions)
    alone = np.concatenate([rng.uniform(examples[i : i + 1], positions[i : i + 1]) for i in range(4)], axis=1)
    assert np.array_equal(together, alone) and len(np.unique(together)) == 16
    assert together.min() >= 0 and together.max() < 1
    assert not np.array_equal(together, Address(4, ("mask", 5)).uniform(examples, positions))
    assert not np.array_equal(together, Address(3, ("mask", 6)).uniform(examples, positions))


def test_draws_are_uniform_and_independent() -> None:
    draws = Address(0, ("x",)).uniform(np.repeat(np.arange(500), 200), np.tile(np.arange(200), 500))
    assert np.abs(draws.mean(1) - 0.5).max() < 0.005
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.01
    counts = np.histogram(draws, bins=64, range=(0, 1))[0]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 120  # chi-square, 63 degrees of freedom


def test_an_address_is_the_same_in_every_process() -> None:
    code = (
        "from nlpkit.base.seeds import Address\na = Address(7, ('objective', 3)).at('mask')\n"
        "print(a.key(), a.torch_seed(), a.generator().integers(1 << 62))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(found) == 1
    assert Address(1, ("a", 1)).key() != Address(1, ("a", "1")).key() != Address(1, ("a1",)).key()
