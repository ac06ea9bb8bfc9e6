"""LayerNorm: torch's numbers, and gradients that no number of threads changes."""

from __future__ import annotations

import torch
from torch import Tensor

from nlpkit.layers.norm import LayerNorm


def run(norm: torch.nn.Module, x: Tensor, up: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = norm(x)
    return [out.detach(), *torch.autograd.grad(out, [x, norm.weight, norm.bias], up)]


def norms(width: int) -> tuple[LayerNorm, torch.nn.LayerNorm]:
    ours, theirs = LayerNorm(width, 1e-5), torch.nn.LayerNorm(width, 1e-5)
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(ours, name).normal_()
            getattr(theirs, name).copy_(getattr(ours, name))
    return ours, theirs


def test_equals_torch() -> None:
    ours, theirs = norms(96)
    x, up = torch.randn(1000, 96) * 3 + 1, torch.randn(1000, 96)
    for left, right in zip(run(ours, x, up), run(theirs, x, up), strict=True):
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-4)


def test_gradients_have_the_same_bits_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    ours, _ = norms(64)
    try:
        for rows in (1, 5, 7, 63, 3001):
            x, up = torch.randn(rows, 64), torch.randn(rows, 64)
            found = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(run(ours, x, up))
            for one, two, three in zip(*found, strict=True):
                assert torch.equal(one, two) and torch.equal(one, three)
    finally:
        torch.set_num_threads(before)


def test_gradients_are_right() -> None:
    norm = LayerNorm(5, 1e-5).double()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    weight, bias = (tensor.detach().clone().requires_grad_() for tensor in (norm.weight, norm.bias))
    fixed = x.detach()

    def by_parameters(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, fixed)

    assert torch.autograd.gradcheck(by_parameters, (weight, bias))
