"""The attention of training: what torch computes in double precision, the same bits in any batch and any threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from nlpkit.kernels import attention as attending
from nlpkit.kernels.attention import Bias
from nlpkit.layers.attention import Attention
from nlpkit.layers.packing import Packing, Run
from nlpkit.layers.view import View
from nlpkit.layers.watching import watching

HEADS = 3
BATCHES = [[1] * 3, [3, 3], [128, 17, 17, 5], [300], [73, 72, 71, 65, 64, 63]]


def by_torch(q_NM: Tensor, k_NM: Tensor, v_NM: Tensor, view: View, heads: int) -> Tensor:
    """The same by torch's function, run by run."""
    parts = []
    for number, (asking, seen) in enumerate(view.runs):
        q, k, v = (x[run.start : run.end].view(run.count, run.length, heads, -1).transpose(1, 2)
                   for x, run in ((q_NM, asking), (k_NM, seen), (v_NM, seen)))  # fmt: skip
        mask = view.masks[number] if view.masks else None
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(q.dtype)
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=view.causal)
        parts.append(out.transpose(1, 2).reshape(asking.count * asking.length, -1))
    return torch.cat(parts)


def _added(length: int) -> Tensor:
    return torch.randn(length, length).masked_fill(torch.rand(length, length) < 0.3, -torch.inf)


MASKS: dict[str, Callable[[Run], Tensor]] = {
    "for each sequence": lambda run: torch.rand(run.count, 1, run.length, run.length) < 0.6,
    "for each head": lambda run: torch.rand(1, HEADS, 1, run.length) < 0.6,  # some rows see nothing
    "for a query": lambda run: torch.rand(run.length, 1) < 0.6,
    "added": lambda run: _added(run.length),
}
SIGHTS = ("all", "causal", *MASKS)


def seen(packing: Packing, sight: str) -> View:
    masks = [MASKS[sight](run) for run in packing.runs] if sight in MASKS else []
    return View.of(packing, causal=sight == "causal", masks=masks)


def given(packing: Packing, model: int) -> list[Tensor]:
    return [torch.randn(packing.total, model, requires_grad=True) for _ in range(3)]


def value_and_gradients(attend: Callable[..., Tensor], parts: list[Tensor], up: Tensor, *rest: object) -> list[Tensor]:
    out = attend(*parts, *rest)
    return [out, *torch.autograd.grad(out, parts, up)]


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("width", [4, 8, 24, 64, 80])
def test_is_what_torch_computes(width: int, sight: str) -> None:
    """In value and gradients; torch with twice the bits."""
    torch.manual_seed(0)
    for lengths in BATCHES:
        packing = Packing.of(lengths)
        view, parts = seen(packing, sight), given(packing, HEADS * width)
        up = torch.randn(packing.total, HEADS * width)
        doubles = [part.detach().double().requires_grad_() for part in parts]
        expected = value_and_gradients(by_torch, doubles, up.double(), view, HEADS)
        found = value_and_gradients(attending.attend, parts, up, view, HEADS)
        for left, right in zip(found, expected, strict=True):
            assert torch.allclose(left.double(), right, atol=2e-5, rtol=1e-4), lengths


def test_a_query_without_visible_keys_is_zero() -> None:
    """Exactly, and gives no gradient: as torch's kernel."""
    torch.manual_seed(0)
    packing, allowed = Packing.of([20]), torch.ones(20, 20, dtype=torch.bool)
    allowed[3], allowed[:, 7] = False, False
    for mask in (allowed, torch.zeros(20, 20).masked_fill(~allowed, -torch.inf)):
        out, dq, dk, dv = value_and_gradients(
            attending.attend, given(packing, 16), torch.ones(20, 16), View.of(packing, masks=[mask]), 2
        )
        assert not out[3].any() and not dq[3].any() and not dk[7].any() and not dv[7].any()
        assert out[4].all()


@pytest.mark.parametrize("sight", ["all", "causal", "for each sequence"])
@pytest.mark.parametrize("width", [4, 8, 24, 64])
def test_same_bits_on_any_number_of_threads_and_in_any_batch(width: int, sight: str) -> None:
    before = torch.get_num_threads()
    torch.manual_seed(0)
    try:
        packing = Packing.of([150, 150, 31, 31, 9, 1, 1])
        view, parts = seen(packing, sight), given(packing, HEADS * width)
        up, one = torch.randn(packing.total, HEADS * width), list[Tensor]()
        for threads in (1, 2, 3, 4, 16):
            torch.set_num_threads(threads)
            found = value_and_gradients(attending.attend, parts, up, view, HEADS)
            one = one or found
            assert all(torch.equal(left, right) for left, right in zip(one, found, strict=True)), threads
        for place, run in enumerate(packing.runs):
            for number in range(run.count):
                rows = slice(run.start + number * run.length, run.start + (number + 1) * run.length)
                alone = [part[rows].detach().requires_grad_() for part in parts]
                masks = [view.masks[place][number : number + 1]] if view.masks else []
                own = View.of(Packing.of([run.length]), causal=view.causal, masks=masks)
                found = value_and_gradients(attending.attend, alone, up[rows], own, HEADS)
                assert all(torch.equal(left[rows], right) for left, right in zip(one, found, strict=True))
    finally:
        torch.set_num_threads(before)


PAIRS = [((3, 3, 1), (5, 5, 2)), ((1, 80, 9), (70, 130, 9)), ((2, 130), (2, 7))]  # queries and keys


def terms(view: View, heads: int, *, shared: bool) -> Bias:
    """A bias by distance (its rows overlap), or numbers of its own for each query and key."""
    counts, longest = np.array(view.queries.lengths), max(*view.keys.lengths, *view.queries.lengths)
    if shared:
        values = torch.randn(heads, 2 * longest - 1, requires_grad=True)
        return Bias(values, np.full(len(counts), longest - 1), 2 * longest - 1, np.full(len(counts), -1), True)
    sizes = counts * np.array(view.keys.lengths)
    values = torch.randn(heads, int(sizes.sum()), requires_grad=True)
    return Bias(values, np.cumsum(sizes) - sizes, int(sizes.sum()), np.array(view.keys.lengths), False)


def densely(q_AM: Tensor, k_NM: Tensor, v_NM: Tensor, values: Tensor, view: View, heads: int, bias: Bias) -> Tensor:
    """The same by its formula, sequence by sequence."""
    out, width, first, start = [], q_AM.shape[1] // heads, 0, 0
    group = q_AM.shape[1] // k_NM.shape[1]
    for number, (queries, keys) in enumerate(zip(view.queries.lengths, view.keys.lengths, strict=True)):
        q_HTD = q_AM[first : first + queries].view(queries, heads, width).transpose(0, 1)
        k_HSD, v_HSD = (x[start : start + keys].view(keys, -1, width).transpose(0, 1).repeat_interleave(group, 0)
                        for x in (k_NM, v_NM))  # fmt: skip
        at_HTS = (
            int(bias.offsets[number])
            + bias.head_step * torch.arange(heads)[:, None, None]
            + int(bias.row_steps[number]) * torch.arange(queries)[:, None]
            + torch.arange(keys)
        )
        scores = 0.3 * q_HTD @ k_HSD.transpose(1, 2) + values.reshape(-1)[at_HTS]
        if view.causal:
            hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
            scores = scores.masked_fill(hidden, -torch.inf)
        out.append((scores.softmax(-1) @ v_HSD).transpose(0, 1).reshape(queries, -1))
        first, start = first + queries, start + keys
    return torch.cat(out)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 2, 8), (3, 1, 24), (2, 2, 64), (4, 4, 6)])
def test_shared_heads_other_texts_and_terms_that_learn(
    heads: int, kv_heads: int, width: int, causal: bool, shared: bool
) -> None:
    """In value and every gradient, that of the terms too; torch with twice the bits. The same bits on any threads."""
    torch.manual_seed(0)
    before = torch.get_num_threads()
    for asking, seen_lengths in PAIRS:
        if causal and any(a > b for a, b in zip(asking, seen_lengths, strict=True)):
            continue
        view = View(Packing.of(asking), Packing.of(seen_lengths), causal)
        sizes = (sum(asking), heads), (sum(seen_lengths), kv_heads), (sum(seen_lengths), kv_heads)
        parts = [torch.randn(total, number * width, requires_grad=True) for total, number in sizes]
        bias, up = terms(view, heads, shared=shared), torch.randn(sum(asking), heads * width)
        doubles = [part.detach().double().requires_grad_() for part in (*parts, bias.values)]
        out = densely(*doubles, view, heads, bias)
        expected = [out, *torch.autograd.grad(out, doubles, up.double())]
        one = list[Tensor]()
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                out = attending.attend(*parts, view, heads, kv_heads=kv_heads, scale=0.3, bias=bias)
                found = [out, *torch.autograd.grad(out, (*parts, bias.values), up)]
                one = one or found
                assert all(torch.equal(left, right) for left, right in zip(one, found, strict=True)), threads
        finally:
            torch.set_num_threads(before)
        for left, right in zip(one, expected, strict=True):
            assert torch.allclose(left.double(), right, atol=3e-5, rtol=1e-4), asking


@pytest.mark.parametrize("at", ["q", "k", "v"])
def test_a_nan_is_not_hidden(at: str) -> None:
    torch.manual_seed(0)
    packing, parts = Packing.of([40, 40]), given(Packing.of([40, 40]), 16)
    with torch.no_grad():
        parts["qkv".index(at)][5] = torch.nan
    out, *gradients = value_and_gradients(attending.attend, parts, torch.ones(80, 16), View.of(packing, causal=True), 2)
    assert out[5:40].isnan().any() and not out[40:].isnan().any()
    assert all(part[:40].isnan().any() for part in gradients[:2])  # queries of NaN values have weights
    assert not any(part[40:].isnan().any() for part in gradients)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were called, by name."""
    found: list[str] = []
    kernels = attending.KERNELS

    class Noted:
        def __getattr__(self, name: str) -> Callable[..., int]:
            found.append(name)
            return getattr(kernels, name)

    monkeypatch.setattr(attending, "KERNELS", Noted())
    return found


def test_kernels_are_called_where_something_is_learnt(calls: list[str]) -> None:
    """One call for all runs of a batch; none where nothing is learnt, or kernels do not know how."""
    torch.manual_seed(0)
    before, packing = torch.get_num_threads(), Packing.of([9, 9, 4])
    torch.set_num_threads(1)
    try:
        layer, x_NM = Attention(16, 2), torch.randn(packing.total, 16)
        causal, whole = View.of(packing, causal=True), View.of(packing)
        learnt = layer(x_NM, causal)
        learnt.sum().backward()
        assert calls == ["forward", "backward"]
        calls.clear()
        with torch.no_grad():
            assert torch.allclose(layer(x_NM, causal), learnt, atol=1e-6)
        with watching(layer):
            assert torch.allclose(layer(x_NM, causal), learnt, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            layer(x_NM, whole)
        bias = torch.zeros(9, 9, requires_grad=True)
        layer(x_NM[:18], View.of(Packing.of([9, 9]), masks=[bias])).sum().backward()
        assert bias.grad is not None
        layer.double()(x_NM.double(), whole)
        layer.to("meta")(x_NM.to("meta"), whole)
        dropping = Attention(16, 2, dropout=0.5)
        dropping(x_NM, whole)
        assert not calls
        dropping.eval()(x_NM, whole)
        assert calls == ["forward"]
    finally:
        torch.set_num_threads(before)
