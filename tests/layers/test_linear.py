"""The linear layer's promise: bits depend neither on the number of threads nor on the rest of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlpkit.layers.linear import Linear, linear


@pytest.fixture(autouse=True)
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kernels of our own, and by torch, as numbers are multiplied that those do not take."""
    if request.param == "torch":
        monkeypatch.setattr("nlpkit.kernels.product.usable", lambda *tensors: False)


def gradients(threads: int, rows: int, columns: int, width: int = 128) -> list[Tensor]:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    shapes = ((rows, width), (columns, width), (columns,), (rows, columns))
    x, weight, bias, up = (torch.randn(shape, generator=generator) for shape in shapes)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    out = linear(x, weight, bias)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


@pytest.mark.parametrize("columns", [2, 3, 5, 6, 7, 9, 10, 11, 24, 40, 100, 128, 487])
def test_same_bits_on_any_number_of_threads(columns: int) -> None:
    for rows in (*range(1, 20), 26, 51, 100, 123, 300):
        one = gradients(1, rows, columns)
        for threads in (2, 3, 4, 16, 48):
            for left, right in zip(one, gradients(threads, rows, columns), strict=True):
                assert torch.equal(left, right), (rows, threads)


@pytest.mark.parametrize("width", [8, 24, 40, 100, 312])
def test_same_bits_for_odd_widths(width: int) -> None:
    for rows, columns in ((64, 64), (300, 24), (200, width), (17, 96)):
        one = gradients(1, rows, columns, width)
        for threads in (2, 3, 8, 24):
            for left, right in zip(one, gradients(threads, rows, columns, width), strict=True):
                assert torch.equal(left, right), (rows, columns, threads)


@pytest.mark.parametrize("columns", [3, 128, 512])
def test_a_row_has_the_same_bits_in_any_batch(columns: int) -> None:
    layer, x = Linear(256, columns), torch.randn(300, 256)
    with torch.no_grad():
        whole = linear(x, layer.weight, layer.bias)
        for rows in (1, 2, 3, 5, 17, 63, 64, 65, 255, 256, 299):
            assert torch.equal(linear(x[:rows], layer.weight, layer.bias), whole[:rows])
            assert torch.equal(linear(x[-rows:], layer.weight, layer.bias), whole[-rows:])


def test_equals_torch() -> None:
    layer = Linear(32, 3)
    for rows in (0, 1, 5, 100):
        x = torch.randn(rows, 32)
        assert torch.allclose(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-6)
        with torch.no_grad():
            assert torch.allclose(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-6)
