"""The attention of training: what torch computes in double precision, the same bits in any batch and any threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from nlpkit.kernels import attention as attending
from nlpkit.layers.attention import Attention, Causal, Full, Visibility
from nlpkit.layers.packing import Packing, Run
from nlpkit.layers.watching import watching

HEADS = 3
BATCHES = [[1] * 3, [3, 3], [128, 17, 17, 5], [300], [73, 72, 71, 65, 64, 63]]


def by_torch(
    q_NM: Tensor, k_NM: Tensor, v_NM: Tensor, packing: Packing, sights: Sequence[Visibility], heads: int
) -> Tensor:
    """The same by torch's function, run by run."""
    parts = []
    for run, sight in zip(packing.runs, sights, strict=True):
        q, k, v = (x[run.start : run.end].view(run.count, run.length, heads, -1).transpose(1, 2)
                   for x in (q_NM, k_NM, v_NM))  # fmt: skip
        mask = sight if isinstance(sight, Tensor) else None
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(q.dtype)
        causal = isinstance(sight, str) and sight == "causal"
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        parts.append(out.transpose(1, 2).reshape(run.count * run.length, -1))
    return torch.cat(parts)


def _added(length: int) -> Tensor:
    return torch.randn(length, length).masked_fill(torch.rand(length, length) < 0.3, -torch.inf)


SIGHTS: dict[str, Callable[[Run], Visibility]] = {
    "all": lambda run: "all",
    "causal": lambda run: "causal",
    "for each sequence": lambda run: torch.rand(run.count, 1, run.length, run.length) < 0.6,
    "for each head": lambda run: torch.rand(1, HEADS, 1, run.length) < 0.6,  # some rows see nothing
    "for a query": lambda run: torch.rand(run.length, 1) < 0.6,
    "added": lambda run: _added(run.length),
}


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
        sights, parts = [SIGHTS[sight](run) for run in packing.runs], given(packing, HEADS * width)
        up = torch.randn(packing.total, HEADS * width)
        doubles = [part.detach().double().requires_grad_() for part in parts]
        expected = value_and_gradients(by_torch, doubles, up.double(), packing, sights, HEADS)
        found = value_and_gradients(attending.attend, parts, up, packing, sights, HEADS)
        for left, right in zip(found, expected, strict=True):
            assert torch.allclose(left.double(), right, atol=2e-5, rtol=1e-4), lengths


def test_a_query_without_visible_keys_is_zero() -> None:
    """Exactly, and gives no gradient: as torch's kernel."""
    torch.manual_seed(0)
    packing, allowed = Packing.of([20]), torch.ones(20, 20, dtype=torch.bool)
    allowed[3], allowed[:, 7] = False, False
    for mask in (allowed, torch.zeros(20, 20).masked_fill(~allowed, -torch.inf)):
        out, dq, dk, dv = value_and_gradients(
            attending.attend, given(packing, 16), torch.ones(20, 16), packing, [mask], 2
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
        sights, parts = [SIGHTS[sight](run) for run in packing.runs], given(packing, HEADS * width)
        up, one = torch.randn(packing.total, HEADS * width), list[Tensor]()
        for threads in (1, 2, 3, 4, 16):
            torch.set_num_threads(threads)
            found = value_and_gradients(attending.attend, parts, up, packing, sights, HEADS)
            one = one or found
            assert all(torch.equal(left, right) for left, right in zip(one, found, strict=True)), threads
        for run, shared in zip(packing.runs, sights, strict=True):
            for number in range(run.count):
                rows = slice(run.start + number * run.length, run.start + (number + 1) * run.length)
                alone = [part[rows].detach().requires_grad_() for part in parts]
                own = shared[number : number + 1] if isinstance(shared, Tensor) else shared
                found = value_and_gradients(
                    attending.attend, alone, up[rows], Packing.of([run.length]), [own], HEADS
                )  # fmt: skip
                assert all(torch.equal(left[rows], right) for left, right in zip(one, found, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("at", ["q", "k", "v"])
def test_a_nan_is_not_hidden(at: str) -> None:
    torch.manual_seed(0)
    packing, parts = Packing.of([40, 40]), given(Packing.of([40, 40]), 16)
    with torch.no_grad():
        parts["qkv".index(at)][5] = torch.nan
    out, *gradients = value_and_gradients(attending.attend, parts, torch.ones(80, 16), packing, ["causal"], 2)
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
        learnt = layer(x_NM, packing, Causal())
        learnt.sum().backward()
        assert calls == ["forward", "backward"]
        calls.clear()
        with torch.no_grad():
            assert torch.allclose(layer(x_NM, packing, Causal()), learnt, atol=1e-6)
        with watching(layer):
            assert torch.allclose(layer(x_NM, packing, Causal()), learnt, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            layer(x_NM, packing, Full())
        bias = torch.zeros(9, 9, requires_grad=True)
        layer(x_NM[:18], Packing.of([9, 9]), lambda run, queries, keys: bias).sum().backward()
        assert bias.grad is not None
        layer.double()(x_NM.double(), packing, Full())
        layer.to("meta")(x_NM.to("meta"), packing, Full())
        dropping = Attention(16, 2, dropout=0.5)
        dropping(x_NM, packing, Full())
        assert not calls
        dropping.eval()(x_NM, packing, Full())
        assert calls == ["forward"]
    finally:
        torch.set_num_threads(before)
