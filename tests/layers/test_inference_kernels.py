"""A model in inference: near the one that is trained, and each token's bits its own.

Alone or in company, on any number of threads, read at once or token by token, with and without 8 bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import making
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from nlpkit.base.abilities import Ability
from nlpkit.kernels import inference as kernels
from nlpkit.layers import feedforward, inference, int8
from nlpkit.layers.attention import Attend, Attention
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm, Norm
from nlpkit.layers.packing import Packing
from nlpkit.layers.state import Cache
from nlpkit.layers.view import View, reading_on
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


def prefix(length: int, *, added: bool) -> Callable[[View], View]:
    """Both ways over the first tokens, and causal after; as truth or as numbers."""

    def masked(view: View) -> View:
        masks = []
        for asking, seen in view.runs:
            before = torch.ones(asking.length, seen.length, dtype=torch.bool).tril(seen.length - asking.length)
            mask = before | (torch.arange(seen.length) < length)
            masks.append(torch.where(mask, 0.5, -torch.inf) if added else mask)
        return View(view.queries, view.keys, masks=tuple(masks))

    return masked


SIGHTS: dict[str, Callable[[View], View]] = {
    "all": lambda view: View(view.queries, view.keys),
    "causal": lambda view: view,
    "prefix": prefix(3, added=False),
    "added": prefix(3, added=True),
    "itself": prefix(0, added=False),
    "one added": prefix(1, added=True),
}


def sight(name: str, *lengths: int) -> View:
    return SIGHTS[name](View.of(Packing.of(lengths), causal=True))


@pytest.mark.parametrize("name", ["all", "causal", "prefix", "added"])
@pytest.mark.parametrize(
    ("d_model", "heads", "kv_heads"), [(256, 4, 4), (256, 4, 2), (48, 2, 1), (40, 4, 4), (15, 3, 3)]
)
def test_attention_is_that_of_the_brick(name: str, d_model: int, heads: int, kv_heads: int) -> None:
    layer, lengths = Attention(d_model, heads, n_kv_heads=kv_heads), (7, 7, 1, 130, 3)
    quick, x_NM, view = Attend(layer, inference.Product), torch.randn(sum(lengths), d_model), sight(name, *lengths)
    whole = quick(x_NM, view)
    assert torch.allclose(whole, layer(x_NM, view), atol=2e-6)
    for start, length in zip(view.queries.starts.tolist(), lengths, strict=True):
        alone = quick(x_NM[start : start + length], sight(name, length))
        assert torch.equal(alone, whole[start : start + length])


def test_what_may_not_be_seen_changes_nothing() -> None:
    """Not even the last bit, of the tokens before it and of those whose mask forbids it."""
    x_NM, quick = torch.randn(70, 64), Attend(Attention(64, 2), inference.Product)
    other = x_NM.clone()
    other[40] = 1e4
    for name in ("causal", "itself"):
        one, two = (quick(x, sight(name, 70)) for x in (x_NM, other))
        assert torch.equal(one[:40], two[:40]) and not torch.equal(one[40:], two[40:])


@pytest.mark.parametrize("name", ["causal", "one added"])
@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("sizes", [(1,) * 200, (5, 1, 1, 150, 2, 1, 40)])
def test_attention_reads_on_bit_by_bit(name: str, kv_heads: int, sizes: tuple[int, ...]) -> None:
    """Two sequences in parts, past what the first buffers hold, against both at once; heads of 64 and of 24."""
    for d_model in (128, 48):
        quick, cache, end = Attend(Attention(d_model, 2, n_kv_heads=kv_heads), inference.Product), Cache(), 0
        x_BTM = torch.randn(2, sum(sizes), d_model)
        whole = quick(x_BTM.flatten(0, 1), sight(name, *[sum(sizes)] * 2)).view_as(x_BTM)
        for size in sizes:
            part, view = x_BTM[:, end : end + size].flatten(0, 1), reading_on(Packing.of([size] * 2), cache)
            found = quick(part, SIGHTS[name](view), memory=cache.layer(0)).view(2, size, -1)
            assert torch.equal(found, whole[:, end : end + size])
            cache.lengths, end = view.keys.lengths, end + size


def test_sequences_read_on_together_as_alone() -> None:
    """Of several lengths, taken in another order, one twice."""
    quick, lengths, order = Attend(Attention(64, 4, n_kv_heads=2), inference.Product), (50, 1, 3), (2, 0, 0, 1)
    texts = [torch.randn(length + 90, 64) for length in lengths]
    whole = [quick(text, sight("causal", len(text))) for text in texts]
    cache = Cache()
    firsts = torch.cat([text[:length] for text, length in zip(texts, lengths, strict=True)])
    quick(firsts, reading_on(Packing.of(lengths), cache), memory=cache.layer(0))
    cache.lengths = lengths
    cache, end = cache.take(torch.tensor(order)), 0
    for size in (1, 80, 2, 7):
        new = torch.cat([texts[row][lengths[row] + end : lengths[row] + end + size] for row in order])
        view = reading_on(Packing.of([size] * 4), cache)
        parts = quick(new, view, memory=cache.layer(0)).split(size)
        cache.lengths = view.keys.lengths
        for row, part in zip(order, parts, strict=True):
            assert torch.equal(part, whole[row][lengths[row] + end : lengths[row] + end + size])
        end += size


def test_what_another_text_says_is_read_once() -> None:
    """Cross attention: queries of one text, keys of another; remembered, the same bits."""
    layer = Attention(64, 4, n_kv_heads=2, crossing=True)
    quick, asking, seen = Attend(layer, inference.Product), (4, 4, 9), (30, 7, 1)
    x_AM, keys_NM = torch.randn(17, 64), torch.randn(38, 64)
    view = View(Packing.of(asking), Packing.of(seen))
    whole = quick(x_AM, view, keys_NM=keys_NM)
    assert torch.allclose(whole, layer(x_AM, view, keys_NM=keys_NM), atol=2e-6)
    for part in (quick, layer):
        cache = Cache()
        first = part(x_AM, view, keys_NM=keys_NM, memory=cache.layer(0))
        again = part(x_AM, view, keys_NM=keys_NM * torch.nan, memory=cache.layer(0))
        assert torch.equal(first, again) and torch.allclose(first, whole, atol=2e-6)
        if part is quick:
            assert torch.equal(first, whole)


def test_heads_are_scaled_by_their_own_width() -> None:
    """Those that are filled up too."""
    qkv, view = torch.randn(9, 3 * 2 * 8), sight("all", 9)
    parts = [part.view(1, 9, 2, 8).transpose(1, 2) for part in qkv.split(16, 1)]
    expected = scaled_dot_product_attention(*parts, scale=0.3).transpose(1, 2).reshape(9, 16)
    found = kernels.attend(*qkv.split(16, 1), view, heads=2, kv_heads=2, scale=0.3)
    assert torch.allclose(found, expected, atol=1e-6)


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
        found.append(head(made(making.make_batch([1]).with_tokens(token[None]), state=cache).hidden))
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
from nlpkit.layers.attention import Attend, Attention
from nlpkit.layers.packing import Packing
from nlpkit.layers.view import View
generator = torch.Generator().manual_seed(0)
with torch.inference_mode():
    for width in (256, 48):
        layer = Attention(width, 2)
        for part in layer.parameters():
            part.copy_(torch.randn(part.shape, generator=generator) * 0.1)
        x = torch.randn(77, width, generator=generator)
        found = Attend(layer, inference.Product)(x, View.of(Packing.of([70, 7]), causal=True))
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
