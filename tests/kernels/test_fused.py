"""Compiled kernels: torch's numbers, the same bits on any number of threads, and no NaN is hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.functional import gelu as torch_gelu

from nlpkit.kernels import pointwise as fused
from nlpkit.layers.feedforward import ACTIVATIONS

HOW = {"gelu": "none", "gelu-tanh": "tanh"}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def value_and_derivative(name: str, x: Tensor, up: Tensor | None = None) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = ACTIVATIONS[name](x)
    return [out.detach(), *torch.autograd.grad(out, x, torch.ones_like(x) if up is None else up)]


@pytest.mark.parametrize("name", HOW)
def test_gelu_equals_torch(name: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-8, 60.0, -60.0, 1e4])])[None]
    assert x.shape[1] % 8 == 0  # the kernel is called
    wide = x.double().requires_grad_()
    expected = torch_gelu(wide, approximate=HOW[name])
    (derivative,) = torch.autograd.grad(expected.sum(), wide)
    for found, right in zip(value_and_derivative(name, x), (expected, derivative), strict=True):
        assert torch.allclose(found.double(), right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", HOW)
def test_gelu_learns_what_it_answers(name: str) -> None:
    """What is learnt with the kernel is answered without it: the two differ by rounding only."""
    torch.manual_seed(0)
    x = torch.randn(64, 32) * 3
    assert torch.allclose(value_and_derivative(name, x)[0], ACTIVATIONS[name](x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", HOW)
@pytest.mark.parametrize("width", [8, 24, 13])
def test_gelu_has_the_same_bits_alone_and_on_any_number_of_threads(
    name: str, width: int, threads: Callable[[int], None]
) -> None:
    x, up = torch.randn(20_001, width), torch.randn(20_001, width)
    if width == 13 and name == "gelu-tanh":
        x, up = x[:100], up[:100]  # no kernel
    found = []
    for number in (1, 2, 3, 7):
        threads(number)
        found.append(value_and_derivative(name, x, up))
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            assert torch.equal(left, right)
    if width % 8 == 0:
        for left, right in zip(found[0], value_and_derivative(name, x[7:8], up[7:8]), strict=True):
            assert torch.equal(left[7:8], right)


def test_softmax_loss_equals_torch_and_has_the_same_bits_on_any_number_of_threads(
    threads: Callable[[int], None],
) -> None:
    for rows, vocab in ((300, 1003), (5, 40_001), (70, 8000), (3, 5), (0, 16)):
        logits, target = torch.randn(rows, vocab) * 4, torch.randint(vocab, (rows,))
        wide = logits.double().requires_grad_()
        expected = cross_entropy(wide, target, reduction="none")
        (derivative,) = torch.autograd.grad(expected.sum(), wide)
        first: list[Tensor] = []
        for number in (1, 2, 5):
            threads(number)
            gradient = logits.clone()
            found = [fused.softmax_loss_(gradient, target), gradient]
            first = first or found
            assert torch.equal(found[0], first[0]) and torch.equal(found[1], first[1])
        assert torch.allclose(first[0].double(), expected, rtol=2e-6, atol=1e-6)
        assert torch.allclose(first[1].double(), derivative, rtol=1e-5, atol=1e-6)


def test_a_nan_stays_nan() -> None:
    nan = torch.full((1, 16), torch.nan)
    for name in HOW:
        assert all(found.isnan().all() for found in value_and_derivative(name, nan))
    assert fused.softmax_loss_(nan.clone(), torch.tensor([3])).isnan().all()
    dx, dweight, dbias = fused.norm_backward(nan, torch.randn(1, 16), torch.zeros(1), torch.ones(1), torch.ones(16))
    assert dx.isnan().all() and dweight.isnan().all() and dbias.isnan().all()


def test_a_piece_that_is_never_likely_has_no_gradient() -> None:
    """-inf, with which a vocabulary is padded."""
    logits = torch.tensor([[0.5, -torch.inf, 1.0, 0.0]])
    fused.softmax_loss_(logits, torch.tensor([0]))
    assert 0 <= logits[0, 1] < 1e-30
