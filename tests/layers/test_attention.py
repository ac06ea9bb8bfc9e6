"""Attention over packed sequences: each sequence alone, masks, caches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlpkit.layers.attention import Attention, attend
from nlpkit.layers.packing import Packing
from nlpkit.layers.state import Cache, Memory
from nlpkit.layers.view import View, reading_on


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


@pytest.mark.parametrize("causal", [False, True])
def test_each_sequence_attends_to_itself_only(causal: bool) -> None:
    torch.manual_seed(0)
    layer, packing = Attention(32, 4), Packing.of([7, 7, 1, 30, 3, 3])
    x_NM = torch.randn(packing.total, 32)
    found = layer(x_NM, View.of(packing, causal=causal))
    for start, length in zip(packing.starts.tolist(), packing.lengths, strict=True):
        expected = plain(layer, x_NM[start : start + length], causal)
        assert torch.allclose(found[start : start + length], expected, atol=1e-5)


def test_a_mask_may_be_a_tensor_made_for_the_batch() -> None:
    """A prefix: bidirectional over its first tokens, causal after. What later families will give."""

    before = torch.ones(5, 5, dtype=torch.bool).tril()
    prefixes = torch.stack([before | (torch.arange(5) < length) for length in (0, 5)])[:, None]
    torch.manual_seed(0)
    layer, one, x = Attention(16, 2), Packing.of([5]), torch.randn(10, 16)
    with torch.no_grad():
        found = layer(x, View.of(Packing.of([5, 5]), masks=[prefixes]))
        assert torch.allclose(found[:5], layer(x[:5], View.of(one, causal=True)), atol=1e-6)
        assert torch.allclose(found[5:], layer(x[5:], View.of(one)), atol=1e-6)


@pytest.mark.parametrize("steps", [[1] * 10, [10], [4, 1, 5], [1, 9]])
def test_cached_equals_uncached(steps: list[int]) -> None:
    torch.manual_seed(0)
    layer, count, cache, end = Attention(16, 2), 3, Cache(), 0
    x_BTM, found = torch.randn(count, 10, 16), []
    with torch.no_grad():
        whole = View.of(Packing.of([10] * count), causal=True)
        expected = layer(x_BTM.reshape(-1, 16), whole).view(count, 10, 16)
        for length in steps:
            part, view = x_BTM[:, end : end + length].reshape(-1, 16), reading_on(Packing.of([length] * count), cache)
            found.append(layer(part, view, memory=cache.layer(0)).view(count, length, 16))
            cache.lengths, end = view.keys.lengths, end + length
    assert torch.allclose(torch.cat(found, 1), expected, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_sequences_of_other_lengths_read_on_together(kv_heads: int) -> None:
    """A ragged cache, whose sequences are taken in another order, one of them twice."""
    torch.manual_seed(0)
    layer, lengths, cache = Attention(32, 4, n_kv_heads=kv_heads), (5, 1, 3), Cache()
    texts = [torch.randn(length + 4, 32) for length in lengths]
    with torch.no_grad():
        expected = [layer(text, View.of(Packing.of([len(text)]), causal=True)) for text in texts]
        view = reading_on(Packing.of(lengths), cache)
        layer(
            torch.cat([text[:length] for text, length in zip(texts, lengths, strict=True)]), view, memory=cache.layer(0)
        )
        cache.lengths, order = lengths, (2, 0, 0, 1)
        cache = cache.take(torch.tensor(order))
        assert cache.lengths == (3, 5, 5, 1)
        for step in range(2):
            new = torch.cat([texts[row][lengths[row] + 2 * step : lengths[row] + 2 * step + 2] for row in order])
            view = reading_on(Packing.of([2] * 4), cache)
            found = layer(new, view, memory=cache.layer(0)).split(2)
            cache.lengths = view.keys.lengths
            for row, part in zip(order, found, strict=True):
                at = lengths[row] + 2 * step
                assert torch.allclose(part, expected[row][at : at + 2], atol=1e-5)


def test_memory_grows_past_its_first_buffer() -> None:
    memory, end = Memory(), 0
    pieces = [torch.randn(1, 2, length, 4) for length in (60, 1, 1, 1, 1, 1, 200, 1)]
    for piece in pieces:
        keys, values = memory.extend(slice(0, 1), 1, end, piece, -piece)
        end += piece.shape[2]
    assert torch.equal(keys, torch.cat(pieces, 2)) and torch.equal(values, -keys)


def test_a_cache_refuses_other_sequences() -> None:
    with pytest.raises(ValueError, match="of 3 sequences, the batch of 2"):
        reading_on(Packing.of([2, 3]), Cache([1, 1, 1]))


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
                out = layer(x_NM, View.of(packing, causal=True))
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
