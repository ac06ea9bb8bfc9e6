"""Attention over packed sequences: each sequence alone, masks, caches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlpkit.layers.attention import Attention, Cache, Causal, Full, Mask, Visibility, attend
from nlpkit.layers.packing import Packing, Run


def plain(layer: Attention, x_TM: Tensor, causal: bool) -> Tensor:
    """Attention of one sequence by its formula."""
    split = [
        part(x_TM).view(len(x_TM), layer.n_heads, -1).transpose(0, 1) for part in (layer.query, layer.key, layer.value)
    ]
    q_HTD, k_HTD, v_HTD = split
    scores = q_HTD @ k_HTD.transpose(1, 2) / q_HTD.shape[2] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(len(x_TM), len(x_TM)).triu(1).bool(), -torch.inf)
    return layer.output((scores.softmax(-1) @ v_HTD).transpose(0, 1).reshape(len(x_TM), -1))


@pytest.mark.parametrize(("mask", "causal"), [(Full(), False), (Causal(), True)])
def test_each_sequence_attends_to_itself_only(mask: Mask, causal: bool) -> None:
    torch.manual_seed(0)
    layer, packing = Attention(32, 4), Packing.of([7, 7, 1, 30, 3, 3])
    x_NM = torch.randn(packing.total, 32)
    found = layer(x_NM, packing, mask)
    for start, length in zip(packing.starts.tolist(), packing.lengths, strict=True):
        expected = plain(layer, x_NM[start : start + length], causal)
        assert torch.allclose(found[start : start + length], expected, atol=1e-5)


def test_a_mask_may_be_a_tensor_made_for_the_batch() -> None:
    """A prefix: bidirectional over its first tokens, causal after. What later families will give."""

    class Prefix:
        def __init__(self, lengths: list[int]) -> None:
            self.lengths = lengths

        def __call__(self, run: Run, queries: int, keys: int) -> Visibility:
            before = torch.ones(queries, keys, dtype=torch.bool).tril()
            whole = torch.stack([before | (torch.arange(keys) < length) for length in self.lengths])
            return whole[:, None]

    torch.manual_seed(0)
    layer, packing, x = Attention(16, 2), Packing.of([5, 5]), torch.randn(10, 16)
    with torch.no_grad():
        found = layer(x, packing, Prefix([0, 5]))
        assert torch.allclose(found[:5], layer(x[:5], Packing.of([5]), Causal()), atol=1e-6)
        assert torch.allclose(found[5:], layer(x[5:], Packing.of([5]), Full()), atol=1e-6)


@pytest.mark.parametrize("steps", [[1] * 10, [10], [4, 1, 5], [1, 9]])
def test_cached_equals_uncached(steps: list[int]) -> None:
    torch.manual_seed(0)
    layer, count = Attention(16, 2), 3
    x_BTM = torch.randn(count, 10, 16)
    with torch.no_grad():
        expected = layer(x_BTM.reshape(-1, 16), Packing.of([10] * count), Causal()).view(count, 10, 16)
        memory, place, found = Cache().layer(0), 0, []
        for length in steps:
            part = x_BTM[:, place : place + length].reshape(-1, 16)
            found.append(layer(part, Packing.of([length] * count), Causal(), memory).view(count, length, 16))
            place += length
    assert memory.length == 10
    assert torch.allclose(torch.cat(found, 1), expected, atol=1e-5)


def test_memory_grows_past_its_first_buffer() -> None:
    memory = Cache().layer(0)
    pieces = [torch.randn(1, 2, length, 4) for length in (60, 1, 1, 1, 1, 1, 200, 1)]
    for piece in pieces:
        keys, values = memory.extend(piece, -piece)
    assert torch.equal(keys, torch.cat(pieces, 2)) and torch.equal(values, -keys)
    assert memory.length == 266


def test_a_memory_refuses_mixed_lengths() -> None:
    with pytest.raises(ValueError, match="one length"):
        Attention(16, 2)(torch.randn(5, 16), Packing.of([2, 3]), Causal(), Cache().layer(0))


def test_product_by_product_is_what_torch_computes() -> None:
    """With masks of both kinds and none, fewer queries than keys, in value and gradient."""
    generator = torch.Generator().manual_seed(0)
    for queries, keys in ((1, 9), (3, 40), (17, 17), (24, 31)):
        parts = [
            torch.randn(2, 3, size, 8, generator=generator, dtype=torch.float64, requires_grad=True)
            for size in (queries, keys, keys)
        ]
        allowed = torch.rand(2, 1, queries, keys, generator=generator) < 0.5
        allowed[..., 0] = True
        scores = torch.randn(1, 1, queries, keys, generator=generator, dtype=torch.float64)
        for mask in (None, allowed, scores):
            expected = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask)
            found = attend(*parts, mask)
            assert torch.allclose(found, expected)
            up = torch.randn(found.shape, generator=generator, dtype=torch.float64)
            for left, right in zip(
                torch.autograd.grad(found, parts, up), torch.autograd.grad(expected, parts, up), strict=True
            ):
                assert torch.allclose(left, right)


@pytest.mark.parametrize("width", [4, 8, 16, 24, 64])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_same_bits_on_any_number_of_threads(width: int, dropout: float) -> None:
    """Heads of any width, sequences of any length, dropout of the probabilities, and keys from elsewhere."""
    before = torch.get_num_threads()
    try:
        for lengths in ([17] * 5, [31, 31, 24, 23, 9, 3, 2, 1], [129, 70]):
            packing, one = Packing.of(lengths), list[Tensor]()
            for threads in (1, 2, 3, 4, 16):
                torch.set_num_threads(threads)
                torch.manual_seed(0)
                layer = Attention(3 * width, 3, dropout=dropout)
                x_NM = torch.randn(packing.total, 3 * width, requires_grad=True)
                out = layer(x_NM, packing, Causal())
                found = [
                    out,
                    *torch.autograd.grad(out.square().sum(1) @ torch.ones(len(out)), [x_NM, *layer.parameters()]),
                ]
                parts = [torch.randn(2, 3, size, width, requires_grad=True) for size in (17, 40, 40)]
                crossed = attend(*parts)
                found += [crossed, *torch.autograd.grad(crossed, parts, torch.randn(crossed.shape))]
                one = one or found
                for number, (left, right) in enumerate(zip(one, found, strict=True)):
                    assert torch.equal(left, right), (lengths, threads, number)
    finally:
        torch.set_num_threads(before)
