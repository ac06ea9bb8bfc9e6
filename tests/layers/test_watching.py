"""Recorded attention: the weights that were used, for every family, and the model as it was afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from nlpkit import models
from nlpkit.exchange.opening import load
from nlpkit.layers.attention import Attention
from nlpkit.layers.block import PreNorm, Stack
from nlpkit.layers.feedforward import FeedForward, gelu
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.packing import Packing
from nlpkit.layers.view import View
from nlpkit.layers.watching import watching
from nlpkit.tasks.reading import encoder_of

LENGTHS = [5, 5, 37]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("width", [8, 16])
@torch.no_grad()
def test_weights_times_values_is_what_attention_gives(causal: bool, width: int) -> None:
    """More keys than a head is wide, and widths that the kernel pads."""
    torch.manual_seed(1)
    part = Attention(2 * width, 2).eval()
    packing = Packing.of(LENGTHS)
    x_NM = torch.randn(packing.total, 2 * width)
    with watching(part) as found:
        out_NM = part(x_NM, View.of(packing, causal=causal))
    assert [tuple(weights.shape) for _, weights in found] == [(2, 2, 5, 5), (1, 2, 37, 37)]
    v_NM, start = part.value(x_NM), 0
    for _, weights_BHTT in found:
        count, _, length, _ = weights_BHTT.shape
        assert torch.allclose(weights_BHTT.sum(-1), torch.ones(count, 2, length), atol=1e-5)
        if causal:
            assert weights_BHTT.triu(1).abs().max() == 0
        rows = slice(start, start + count * length)
        v_BHTD = v_NM[rows].view(count, length, 2, width).transpose(1, 2)
        mixed_NM = part.output((weights_BHTT @ v_BHTD).transpose(1, 2).reshape(count * length, -1))
        assert torch.allclose(mixed_NM, out_NM[rows], atol=1e-5)
        start += count * length


@pytest.mark.parametrize("name", models.FAMILIES)
def test_every_family_is_watched_and_is_not_changed(name: str, tmp_path: Path) -> None:
    loaded = load(toys.model(tmp_path / "m.safetensors", name))
    sequences = encoder_of(loaded, None).encode(["the king of france goes out"], None)
    batch = sequences.batch(np.array([0]))
    if not any(isinstance(part, Attention) for part in loaded.model.modules()):
        pytest.skip("has no attention")
    with torch.inference_mode():
        before = loaded.model(batch).hidden
        with watching(loaded.model) as found:
            inside = loaded.model(batch).hidden
        after = loaded.model(batch).hidden
    assert torch.equal(before, inside) and torch.equal(before, after)
    looks = [weights_1HTS for _, weights_1HTS in found]
    assert looks
    for weights_1HTS in looks:
        assert weights_1HTS.shape[0] == 1 and (weights_1HTS >= -1e-6).all()
        assert torch.allclose(weights_1HTS.sum(-1), torch.ones(weights_1HTS.shape[:3]), atol=1e-5)


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    part = Attention(16, 2)
    with pytest.raises(KeyError), watching(part):
        raise KeyError
    assert "_attend" not in vars(part)


@torch.no_grad()
def test_layers_are_recorded_by_depth_where_blocks_take_turns() -> None:
    torch.manual_seed(2)
    blocks = [
        PreNorm(
            Attention(16, 2),
            FeedForward(16, 32, gelu),
            attention_norm=LayerNorm(16, 1e-5),
            feedforward_norm=LayerNorm(16, 1e-5),
            dropout=0.0,
        )
        for _ in range(2)
    ]
    stack = Stack(blocks, order=(0, 1, 0, 1)).eval()
    with watching(stack) as found:
        stack(torch.randn(5, 16), View.of(Packing.of([5]), causal=True))
    first, second = dict.fromkeys(name for name, _ in found)
    assert [name for name, _ in found] == [first, second, first, second]
