"""Large results in huge pages: of any shape, freed with their last reference, and no bit of a result changes."""

from __future__ import annotations

import mmap

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nlpkit.kernels import product
from nlpkit.machine import heap, pages

LARGE = heap.LARGE // 4  # numbers


@pytest.mark.parametrize("shape", [(3, 5), (LARGE // 8, 8), (9, LARGE // 8 + 1), (0, 7), ()])
def test_it_has_the_shape_and_can_be_written(shape: tuple[int, ...]) -> None:
    tensor = pages.empty(torch.ones(1), *shape)
    assert tensor.shape == shape and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0 and not tensor.requires_grad
    assert torch.equal(tensor.fill_(2.0), torch.full(shape, 2.0))


def test_it_is_freed_with_its_last_reference() -> None:
    before = heap.held()
    tensor = pages.empty(torch.ones(1), 4, LARGE).fill_(1.0)
    part = tensor[1:]  # a view, which keeps all of it alive
    del tensor
    assert heap.held() - before > 3.5 * heap.LARGE and part.sum() > 0
    del part
    assert heap.held() - before < heap.LARGE


def test_a_large_product_has_the_bits_of_small_ones() -> None:
    torch.manual_seed(0)
    x_MD, weight_ED, bias_E = torch.randn(70, 24), torch.randn(LARGE // 64, 24), torch.randn(LARGE // 64)
    whole = product.forward(x_MD, weight_ED, bias_E)
    assert whole.numel() >= LARGE
    assert torch.equal(whole[40:], product.forward(x_MD[40:], weight_ED, bias_E))


def test_without_huge_pages_and_for_fake_tensors_torch_allocates(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[tuple[int, ...]] = []
    with FakeTensorMode():
        fake = pages.empty(torch.ones(1), 2, LARGE)
        assert fake.shape == (2, LARGE) and type(fake) is not torch.Tensor

    def refused(*arguments: int) -> mmap.mmap:
        requests.append(arguments)
        raise OSError("no memory")

    monkeypatch.setattr(pages.mmap, "mmap", refused)
    assert pages.empty(torch.ones(1), 2, LARGE).shape == (2, LARGE) and len(requests) == 1
    monkeypatch.setattr(pages, "_HUGE_PAGES", None)
    assert pages.empty(torch.ones(1), 2, LARGE).shape == (2, LARGE) and len(requests) == 1
