"""Dropout: the right share, the right scale, the same mask for the gradient, torch's seed."""

from __future__ import annotations

import pytest
import torch

from nlpkit.layers.dropout import Dropout


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_share_and_scale(rate: float) -> None:
    torch.manual_seed(1)
    x = torch.ones(1000, 999, requires_grad=True)
    out = Dropout(rate)(x)
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert torch.equal(gradient, out.detach())  # the same elements, the same scale
    assert abs(float((out == 0).float().mean()) - rate) < 2e-3
    if 0 < rate < 1:
        assert torch.allclose(out[out != 0], torch.tensor(1 / (1 - rate)), rtol=1e-4)


def test_follows_torchs_seed_and_no_number_of_threads() -> None:
    x, before = torch.randn(3001, 77), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(5)
            found.append(Dropout(0.1)(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert not torch.equal(found[0], Dropout(0.1)(x))  # the next draw is another


def test_draws_are_independent_of_their_neighbours() -> None:
    """Four neighbours share one 64-bit draw; their fates must not be correlated."""
    torch.manual_seed(2)
    kept = (Dropout(0.5)(torch.ones(250_000, 4)) != 0).double()
    correlations = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlations.abs().max() < 0.01


def test_does_nothing_in_evaluation() -> None:
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
