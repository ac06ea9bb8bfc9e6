"""Short sequences first: how many updates, and the same stream from any position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.data.order import START, Epochs
from nlpkit.data.staged import Staged, short


def test_a_quarter_and_not_too_short() -> None:
    assert [short(length) for length in (4, 8, 16, 32, 128, 512)] == [4, 8, 8, 8, 32, 128]


def test_first_short_then_long_from_any_position() -> None:
    def epochs(length: int, count: int) -> Epochs:
        lengths = np.full(count, length)
        return Epochs(lengths, lambda examples, epoch: (length, epoch, examples.tolist()), batch_tokens=32, seed=0)  # type: ignore[arg-type,return-value]

    source = Staged(epochs(4, 24), 5, epochs(16, 6))  # three updates an epoch each, so short ones begin an epoch anew
    reading = source.read(START, 1, (0,))
    reads = [next(reading) for _ in range(12)]
    seen: list[Any] = [read.parts[0][0].batch for read in reads]
    assert [length for length, *_ in seen] == [4] * 5 + [16] * 7
    assert [epoch for _, epoch, _ in seen] == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 2]
    assert source.count(2) == 6
    for number, read in enumerate(reads[:-1]):
        position = json.loads(json.dumps(read.after))
        assert next(source.read(position, 1, (0,))).parts[0][0].batch == seen[number + 1]


def test_a_model_learns_from_both(tmp_path: Path) -> None:
    tokens = making.token_file(tmp_path / "tokens.safetensors", documents=10)
    given: dict[str, Any] = {
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "max_len": 32,
        "batch_tokens": 64,
        "steps": 4,
        "threads": 1,
        "dropout": 0.0,
    }

    def positions(name: str, **more: Any) -> np.ndarray:
        nlpkit.pretrain([tokens], tmp_path / f"{name}.safetensors", **given, **more)
        return np.array(file.read(tmp_path / f"{name}.safetensors").array("embeddings.position.weight"))

    nlpkit.pretrain([tokens], tmp_path / "0.safetensors", **{**given, "steps": 0})
    before = np.array(file.read(tmp_path / "0.safetensors").array("embeddings.position.weight"))
    all_short, half = (positions(f"{share}", short_fraction=share, weight_decay=0.0) for share in (1.0, 0.5))
    assert np.array_equal(all_short[8:], before[8:]) and not np.array_equal(all_short[:8], before[:8])
    assert not np.array_equal(half[8:], before[8:])
    with pytest.raises(UserError, match=r"short-fraction is 1\.5"):
        positions("x", short_fraction=1.5)
