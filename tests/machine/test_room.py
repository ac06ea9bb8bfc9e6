"""Memory for large results: any tensor, given back when nobody holds it, and no bit of a result changes."""

from __future__ import annotations

import mmap

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nlpkit.kernels import product
from nlpkit.machine import heap, room

LARGE = heap.LARGE // 4  # numbers


@pytest.mark.parametrize("shape", [(3, 5), (LARGE // 8, 8), (9, LARGE // 8 + 1), (0, 7), ()])
def test_it_has_the_shape_and_can_be_written(shape: tuple[int, ...]) -> None:
    found = room.empty(torch.ones(1), *shape)
    assert found.shape == shape and found.dtype == torch.float32 and found.is_contiguous()
    assert found.data_ptr() % 64 == 0 and not found.requires_grad
    assert torch.equal(found.fill_(2.0), torch.full(shape, 2.0))


def test_it_is_given_back() -> None:
    before = heap.held()
    found = room.empty(torch.ones(1), 4, LARGE).fill_(1.0)
    part = found[1:]  # holds all of it
    del found
    assert heap.held() - before > 3.5 * heap.LARGE and part.sum() > 0
    del part
    assert heap.held() - before < heap.LARGE


def test_a_large_product_has_the_bits_of_small_ones() -> None:
    torch.manual_seed(0)
    x_MD, weight_ED, bias_E = torch.randn(70, 24), torch.randn(LARGE // 64, 24), torch.randn(LARGE // 64)
    whole = product.forward(x_MD, weight_ED, bias_E)
    assert whole.numel() >= LARGE
    assert torch.equal(whole[40:], product.forward(x_MD[40:], weight_ED, bias_E))


def test_without_such_pages_and_where_nothing_is_computed_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    with FakeTensorMode():
        fake = room.empty(torch.ones(1), 2, LARGE)
        assert fake.shape == (2, LARGE) and type(fake) is not torch.Tensor

    def refused(*given: int) -> mmap.mmap:
        asked.append(given)
        raise OSError("no memory")

    monkeypatch.setattr(room.mmap, "mmap", refused)
    assert room.empty(torch.ones(1), 2, LARGE).shape == (2, LARGE) and len(asked) == 1
    monkeypatch.setattr(room, "_ASK", None)
    assert room.empty(torch.ones(1), 2, LARGE).shape == (2, LARGE) and len(asked) == 1
