"""The products of training: right for any sizes, one order of sums on any threads, CPU and blocks of tokens."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nlpkit.kernels import product
from nlpkit.layers.linear import linear

# Rows, depth, columns: below, at and beyond the sizes of a tile, a panel, a vector, a workspace and a block.
SIZES = [(1, 1, 1), (2, 3, 5), (5, 8, 7), (6, 16, 64), (7, 65, 130), (193, 40, 63), (300, 513, 100), (65, 1030, 16),
         (513, 7, 192), (1100, 300, 9), (40, 64, 1100), (2100, 200, 65)]  # fmt: skip


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def given(rows: int, depth: int, columns: int) -> list[Tensor]:
    """x, weight, bias, and the gradient of the result."""
    generator = torch.Generator().manual_seed(rows + depth)
    shapes = ((rows, depth), (columns, depth), (columns,), (rows, columns))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def computed(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> list[Tensor]:
    """The result, and the gradients of x, weight and bias; those of the last two a second time, added."""
    dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
    product.weight_gradient(dy, x, dweight, dbias)
    twice = [dweight.clone(), dbias.clone()]
    product.weight_gradient(dy, x, twice[0], twice[1], adding=True)
    return [product.forward(x, weight, bias), product.input_gradient(dy, weight), dweight, dbias, *twice]


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_double_precision(sizes: tuple[int, int, int]) -> None:
    x, weight, bias, dy = given(*sizes)
    found = computed(x, weight, bias, dy)
    wide = [part.double() for part in (x, weight, bias, dy)]
    gradients = [wide[3].T @ wide[0], wide[3].sum(0)]
    right = [wide[0] @ wide[1].T + wide[2], wide[3] @ wide[1], *gradients, *(2 * part for part in gradients)]
    for left, expected in zip(found, right, strict=True):
        assert (left - expected).abs().max() < 3e-6 * expected.abs().max() + 1e-6
    assert torch.equal(product.forward(x, weight, None), product.forward(x, weight, torch.zeros_like(bias)))


@pytest.mark.parametrize("sizes", SIZES)
def test_same_bits_on_any_number_of_threads(sizes: tuple[int, int, int], threads: Callable[[int], None]) -> None:
    whole = given(*sizes)
    threads(1)
    one = computed(*whole)
    for number in (2, 3, 7):
        threads(number)
        assert all(map(torch.equal, one, computed(*whole)))


def test_a_sum_is_written_in_the_order_of_its_depth() -> None:
    """So where a product is cut does not matter: half of the depth, and the other half from there on."""
    x, weight, bias, _ = given(50, 1100, 70)
    whole = product.forward(x, weight, bias)
    for row, column in ((0, 0), (17, 64), (49, 69)):
        alone = product.forward(x[row : row + 1], weight[column : column + 1], bias[column : column + 1])
        assert torch.equal(alone[0, 0], whole[row, column])


def hashed() -> str:
    parts = [part for sizes in SIZES for part in computed(*given(*sizes))]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def test_same_bits_on_an_older_cpu() -> None:
    """Its vectors are half as wide, its tiles a quarter; the sums are the same."""
    older = {"NLPKIT_LEVEL": "x86-64-v3"}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env={**os.environ, **older})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", hashed()]


@pytest.mark.parametrize("learnt", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_only_what_is_trained_has_a_gradient(learnt: tuple[int, ...]) -> None:
    """In float32, against the gradients in double precision, which torch computes."""
    found: list[list[Tensor]] = []
    for kind in (torch.float32, torch.float64):
        leaves = [part.to(kind).requires_grad_(number in learnt) for number, part in enumerate(given(37, 24, 11)[:3])]
        out = linear(*leaves)
        assert ("Linear" in type(out.grad_fn).__name__) == (kind == torch.float32)
        found.append(list(torch.autograd.grad(out.square().sum(), [leaves[number] for number in learnt])))
    assert all(torch.allclose(left.double(), right, rtol=1e-4, atol=1e-3) for left, right in zip(*found, strict=True))


def test_gradients_that_are_no_rows() -> None:
    """What comes back may be spread out from one number, or lie across; so may x and the weight."""
    x, weight, bias, _ = given(12, 16, 20)
    across = [x.T.contiguous().T.requires_grad_(), weight.T.contiguous().T.requires_grad_()]
    found = torch.autograd.grad(linear(*across, bias).sum(), across)
    plain = [x.requires_grad_(), weight.requires_grad_()]
    right = torch.autograd.grad(torch.nn.functional.linear(*plain, bias).sum(), plain)
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(found, right, strict=True))


def test_no_rows() -> None:
    x, weight, bias = torch.empty(0, 8), torch.ones(3, 8).requires_grad_(), torch.ones(3).requires_grad_()
    out = linear(x, weight, bias)
    assert out.shape == (0, 3)
    assert all(not part.any() for part in torch.autograd.grad(out.sum(), (weight, bias)))


def test_whom_they_are_for() -> None:
    x = torch.ones(2, 3)
    assert product.usable(x, torch.nn.Parameter(x), None)
    assert not product.usable(x, x.double()) and not product.usable(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not product.usable(x) and linear(x, x, None).dtype == torch.bfloat16
    with FakeTensorMode():
        assert not product.usable(torch.empty(2, 3))


if __name__ == "__main__":
    from nlpkit.kernels.shapes import PANEL

    print(PANEL, hashed())
