"""Chunked cross-entropy against torch's, in value and gradient, for any chunk and any number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nlpkit.layers.cross_entropy import linear_cross_entropy, token_losses, total


def inputs(rows: int, width: int, vocab: int, bias: bool, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    target = torch.randint(vocab, (rows,), generator=generator)
    return [draw(rows, width), draw(vocab, width), draw(vocab) if bias else None, target]


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kernels of our own, and by torch, as numbers are multiplied that those do not take."""
    if request.param == "torch":
        monkeypatch.setattr("nlpkit.kernels.product.usable", lambda *tensors: False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_equals_torch(bias: bool, chunk: int) -> None:
    hidden, weight, offset, target = inputs(100, 16, 50, bias)
    leaves = [leaf for leaf in (hidden, weight, offset) if leaf is not None]
    expected = cross_entropy(torch.nn.functional.linear(hidden, weight, offset), target, reduction="sum")
    found = linear_cross_entropy(hidden, weight, offset, target, chunk=chunk)
    assert torch.allclose(found, expected, rtol=1e-6)
    scale = torch.tensor(0.25)
    for left, right in zip(
        torch.autograd.grad(found, leaves, scale), torch.autograd.grad(expected, leaves, scale), strict=True
    ):
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-5)


def test_gradients_are_right() -> None:
    """Against differences; in double precision, which no kernel computes."""
    hidden, weight, offset, target = inputs(9, 4, 6, True, torch.float64)
    leaves = [hidden, weight, offset]
    found = torch.autograd.grad(linear_cross_entropy(hidden, weight, offset, target, chunk=4), leaves)
    with torch.no_grad():
        for leaf, grad in zip(leaves, found, strict=True):
            for place in range(leaf.numel()):
                sides = []
                for step in (1e-6, -2e-6):
                    leaf.view(-1)[place] += step
                    sides.append(linear_cross_entropy(hidden, weight, offset, target, chunk=4).item())
                leaf.view(-1)[place] += 1e-6
                assert abs((sides[0] - sides[1]) / 2e-6 - grad.reshape(-1)[place].item()) < 1e-7


def test_same_bits_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        sizes = (
            (1, 32, 33_000),
            (5, 32, 500),
            (70, 32, 40_000),
            (1030, 32, 700),
            (300, 24, 24),
            (1200, 40, 37),
            (200, 64, 1003),
            (150, 312, 100),
        )
        for rows, width, vocab in sizes:
            hidden, weight, offset, target = inputs(rows, width, vocab, True)
            one: list[Tensor] = []
            for threads in (1, 2, 3, 4, 16):
                torch.set_num_threads(threads)
                loss = linear_cross_entropy(hidden, weight, offset, target)
                found = [
                    loss,
                    *torch.autograd.grad(loss, [hidden, weight, offset]),
                    token_losses(hidden, weight, offset, target)[0],
                ]
                one = one or found
                for left, right in zip(one, found, strict=True):
                    assert torch.equal(left, right), (rows, width, vocab, threads)
    finally:
        torch.set_num_threads(before)


def test_losses_of_each_answer() -> None:
    hidden, weight, offset, target = inputs(100, 16, 50, True)
    logits = torch.nn.functional.linear(hidden, weight, offset)
    losses, right = token_losses(hidden, weight, offset, target, chunk=33)
    assert torch.allclose(losses, cross_entropy(logits, target, reduction="none"), atol=1e-5)
    assert torch.equal(right, logits.argmax(1) == target)
    assert not losses.requires_grad


def test_nothing_to_answer() -> None:
    hidden, weight, offset, target = inputs(0, 16, 50, True)
    loss = linear_cross_entropy(hidden, weight, offset, target)
    assert loss.item() == 0
    assert float(torch.autograd.grad(loss, weight)[0].abs().max()) == 0
    assert [len(part) for part in token_losses(hidden, weight, offset, target)] == [0, 0]


def test_total_is_the_sum() -> None:
    values = torch.randn(100_003)
    assert abs(float(total(values)) - float(values.double().sum())) < 0.05
