"""A model in inference: near the one that is trained, and each token's bits its own.

Alone or in company, on any number of threads, read at once or token by token, with and without 8 bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import making
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from nlpkit.base.abilities import Ability
from nlpkit.kernels import inference as kernels
from nlpkit.layers import feedforward, inference, int8
from nlpkit.layers.attention import Attend, Attention, Cache, Causal, Full, Mask, Memory, Visibility
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm, Norm
from nlpkit.layers.packing import Packing, Run
from nlpkit.models import FAMILIES, family
from nlpkit.models.base import Model

KINDS = {"float": inference.Product, "int8": int8.Product}


@pytest.fixture(autouse=True)
def nothing_is_learnt() -> Iterator[None]:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("width", "columns"), [(256, 256), (36, 100), (7, 1), (96, 700)])
def test_a_product_is_one_sum_in_its_order(width: int, columns: int) -> None:
    """Against the sum that is promised, step by step rounded once, of one column; and near torch's of all."""
    layer = Linear(width, columns)
    product = inference.Product(layer.weight, layer.bias)
    for rows in (1, 2, 3, 4, 5, 6, 7, 13, 64):
        x_MD = torch.randn(rows, width)
        assert torch.allclose(product(x_MD), nn.functional.linear(x_MD, layer.weight, layer.bias), atol=1e-5)
    found, x_D, weight_D = product(x_MD)[5, -1], x_MD[5].double().numpy(), layer.weight[-1].double().numpy()
    total = np.float32(layer.bias[-1])
    for left, right in zip(x_D, weight_D, strict=True):
        total = np.float32(left * right + np.float64(total))  # 48 bits of a product fit in 64
    assert abs(float(found) - float(total)) <= np.spacing(abs(total)), "but for sums that 64 bits round twice"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [100, 2048])
def test_a_row_of_a_product_knows_neither_company_nor_threads(kind: str, columns: int) -> None:
    layer, x_MD = Linear(1024, columns), torch.randn(300, 1024)
    product = KINDS[kind](layer.weight, layer.bias)
    torch.set_num_threads(1)
    whole = product(x_MD)
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        assert torch.equal(product(x_MD), whole)
        for rows in (slice(0, 1), slice(299, 300), slice(3, 5), slice(10, 29), slice(100, 290)):
            assert torch.equal(product(x_MD[rows]), whole[rows])


def test_norms_and_activations_are_near_and_know_their_row_only() -> None:
    x_ND, norm = torch.randn(5000, 136) * 3 + 1, LayerNorm(136, 1e-5)
    norm.weight.copy_(torch.randn(136))
    norm.bias.copy_(torch.randn(136))
    pairs = {
        Norm(norm): norm,
        feedforward.overwriting(feedforward.gelu): gelu,
        feedforward.overwriting(feedforward.gelu_tanh): lambda x: gelu(x, approximate="tanh"),
    }
    for quick, plain in pairs.items():
        torch.set_num_threads(1)
        found = quick(x_ND.clone())
        assert torch.allclose(found, plain(x_ND), rtol=1e-5, atol=3e-6)
        torch.set_num_threads(3)
        assert torch.equal(quick(x_ND.clone()), found) and torch.equal(quick(x_ND[7:9].clone()), found[7:9])


class Prefix:
    """Both ways over the first tokens, and causal after; as truth or as numbers."""

    def __init__(self, length: int, *, added: bool) -> None:
        self.length, self.added = length, added

    def __call__(self, run: Run, queries: int, keys: int) -> Visibility:
        seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) | (torch.arange(keys) < self.length)
        return torch.where(seen, 0.5, -torch.inf) if self.added else seen


@pytest.mark.parametrize("mask", [Full(), Causal(), Prefix(3, added=False), Prefix(3, added=True)])
@pytest.mark.parametrize(("d_model", "heads"), [(256, 4), (48, 2), (40, 4), (15, 3)])
def test_attention_is_that_of_the_brick(mask: Mask, d_model: int, heads: int) -> None:
    layer, packing = Attention(d_model, heads), Packing.of([7, 7, 1, 130, 3])
    quick, x_NM = Attend(layer, inference.Product), torch.randn(packing.total, d_model)
    whole = quick(x_NM, packing, mask)
    assert torch.allclose(whole, layer(x_NM, packing, mask), atol=2e-6)
    for start, length in zip(packing.starts.tolist(), packing.lengths, strict=True):
        alone = quick(x_NM[start : start + length], Packing.of([length]), mask)
        assert torch.equal(alone, whole[start : start + length])


def test_what_may_not_be_seen_changes_nothing() -> None:
    """Not even the last bit, of the tokens before it and of those whose mask forbids it."""
    x_NM, quick = torch.randn(70, 64), Attend(Attention(64, 2), inference.Product)
    other, packing = x_NM.clone(), Packing.of([70])
    other[40] = 1e4
    for mask in (Causal(), Prefix(0, added=False)):
        one, two = (quick(x, packing, mask) for x in (x_NM, other))
        assert torch.equal(one[:40], two[:40]) and not torch.equal(one[40:], two[40:])


@pytest.mark.parametrize("mask", [Causal(), Prefix(1, added=True)])
@pytest.mark.parametrize("sizes", [(1,) * 200, (5, 1, 1, 150, 2, 1, 40)])
def test_attention_reads_on_bit_by_bit(mask: Mask, sizes: tuple[int, ...]) -> None:
    """Two sequences in parts, past what the first buffers hold, against both at once; heads of 64 and of 24."""
    for d_model in (128, 48):
        quick = Attend(Attention(d_model, 2), inference.Product)
        x_BTM = torch.randn(2, sum(sizes), d_model)
        whole = quick(x_BTM.flatten(0, 1), Packing.of([sum(sizes)] * 2), mask).view_as(x_BTM)
        memory, end = Memory(), 0
        for size in sizes:
            part = x_BTM[:, end : end + size].flatten(0, 1)
            found = quick(part, Packing.of([size] * 2), mask, memory).view(2, size, -1)
            assert torch.equal(found, whole[:, end : end + size])
            end += size


def test_heads_are_scaled_by_their_own_width() -> None:
    """Those that are filled up too."""
    qkv = torch.randn(9, 3 * 2 * 8)
    parts = [part.view(1, 9, 2, 8).transpose(1, 2) for part in qkv.split(16, 1)]
    expected = scaled_dot_product_attention(*parts, scale=0.3).transpose(1, 2).reshape(9, 16)
    assert torch.allclose(kernels.attend(qkv, None, heads=2, scale=0.3, sequences=1), expected, atol=1e-6)


def prepared(name: str, kind: str, **shape: int) -> Model:
    kinds = family(name)
    given = {"vocab_size": 1003, "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 256, "max_len": 300, **shape}
    made = kinds.build(kinds.config(**given, dropout=0.0), kinds.heads).eval()
    inference.prepare(made, KINDS[kind])
    return made


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_models_tokens_are_the_same_in_any_batch_and_on_any_number_of_threads(name: str, kind: str) -> None:
    made, lengths = prepared(name, kind, d_model=192, d_ff=768), [1, 17, 17, 90, 1, 250]
    batch = making.make_batch(lengths)
    torch.set_num_threads(1)
    whole = made(batch).hidden
    torch.set_num_threads(3)
    assert torch.equal(made(batch).hidden, whole)
    for start, length in zip(batch.packing.starts.tolist(), lengths, strict=True):
        alone = making.make_batch([length]).with_tokens(batch.tokens[start : start + length])
        assert torch.equal(made(alone).hidden, whole[start : start + length])


@pytest.mark.parametrize("name", [name for name in FAMILIES if Ability.CAUSAL in family(name).offers])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d_model", [64, 60])
def test_a_text_read_token_by_token_has_the_scores_of_one_read_at_once(name: str, kind: str, d_model: int) -> None:
    """Bit by bit, on any number of threads; widths that kernels do not take only nearly."""
    made, batch = prepared(name, kind, d_model=d_model), making.make_batch([100])
    head = made.heads[family(name).objective]
    whole: Tensor = head(made(batch).hidden)
    cache, found = Cache(), []
    for number, token in enumerate(batch.tokens):
        torch.set_num_threads(1 + number % 3)
        found.append(head(made(making.make_batch([1]).with_tokens(token[None]), cache=cache).hidden))
    if d_model % 8 == 0:
        assert torch.equal(torch.cat(found), whole)
    elif kind == "float":
        assert torch.allclose(torch.cat(found), whole, atol=1e-5)


def test_every_brick_that_takes_time_is_replaced() -> None:
    for name in FAMILIES:
        left = [type(part) for place, part in prepared(name, "float").named_modules() if "pooler" not in place]
        assert not {Linear, LayerNorm, Attention} & set(left)


_HASHES = """
import hashlib, sys, torch
from nlpkit.layers import inference
from nlpkit.layers.attention import Attend, Attention, Causal
from nlpkit.layers.packing import Packing
generator = torch.Generator().manual_seed(0)
with torch.inference_mode():
    for width in (256, 48):
        layer = Attention(width, 2)
        for part in layer.parameters():
            part.copy_(torch.randn(part.shape, generator=generator) * 0.1)
        x = torch.randn(77, width, generator=generator)
        found = Attend(layer, inference.Product)(x, Packing.of([70, 7]), Causal())
        print(hashlib.sha256(found.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow  # compiles for another level; test_product.py and test_attention_workspace.py do it always
def test_panels_of_any_width_give_the_same_bits() -> None:
    """Kernels compiled for processors without AVX-512 have tiles of another shape."""
    found = []
    for narrow in ({}, {"NLPKIT_LEVEL": "x86-64-v3"}):
        done = subprocess.run(
            [sys.executable, "-c", _HASHES], capture_output=True, text=True, check=True, env={**os.environ, **narrow}
        )
        found.append(done.stdout)
    assert found[0] == found[1] and len(found[0]) > 32
