"""Compiled kernels as functions of tensors: where training may use them, and how threads share them.

They are for 32-bit numbers on a processor. Elsewhere (a GPU, half of the bits, widths that are no multiple of 8) and
where nothing is learnt, torch's own functions are used, so that `predict`, `embed` and `generate` start without a
compiler. Which it is depends on a tensor's type, device and width, never on how many rows it has.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nlpkit.kernels.shapes import NORM_ROWS
from nlpkit.machine import pages
from nlpkit.machine.kernel import LANES
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.pointwise_code")
LEAST = 1 << 21  # products and additions that are worth a thread


def usable(x: Tensor, step: int = 8) -> bool:
    """Whether kernels that take ``step`` numbers at a time take this tensor; one without memory (an estimate's) not."""
    plain = type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.shape[-1] % step == 0


def gelu_(x: Tensor, tanh: bool) -> Tensor:
    """GELU; x, which is contiguous, becomes its derivative."""
    out = pages.empty(x, *x.shape)
    kernel = KERNELS.gelu_tanh if tanh else KERNELS.gelu
    width, at, to = x.shape[-1], x.data_ptr(), out.data_ptr()
    share(lambda begin, end: kernel(at, to, at, begin * width, end * width), x.numel() // width, 32 * x.numel())
    return out


def norm_backward(
    grad_ND: Tensor, x_ND: Tensor, mean_N1: Tensor, scale_N1: Tensor, weight_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a norm's input, weight and bias."""
    rows, width = grad_ND.shape
    blocks = -(-rows // NORM_ROWS)
    dx_ND, sums = torch.empty_like(x_ND), grad_ND.new_empty(blocks, 2, width)
    dweights = grad_ND.new_zeros(2, width)
    given = [part.detach().contiguous() for part in (grad_ND, x_ND, mean_N1, scale_N1, weight_D)]
    places = [part.data_ptr() for part in (*given, dx_ND, sums)]

    def work(begin: int, end: int) -> None:
        own = torch.empty(LANES)
        KERNELS.norm_backward(*places, own.data_ptr(), width, begin, end)

    share(work, rows, 32 * rows * width, NORM_ROWS)
    if rows:
        KERNELS.add_blocks(sums.data_ptr(), dweights.data_ptr(), blocks, 2 * width)
    return dx_ND, dweights[0], dweights[1]


def softmax_loss_(logits_MV: Tensor, target_M: Tensor) -> Tensor:
    """-log softmax(logits)[target], [M]; the logits become its gradient. Of any V."""
    rows, width = logits_MV.shape
    loss_M, target_M = logits_MV.new_empty(rows), target_M.contiguous()
    places = [part.data_ptr() for part in (logits_MV, target_M, loss_M)]

    def work(begin: int, end: int) -> None:
        own = torch.empty(2 * LANES)
        KERNELS.softmax_loss(*places, own.data_ptr(), width, begin, end)

    share(work, rows, 32 * rows * width)
    return loss_M


def share(work: Callable[[int, int], Any], parts: int, cost: int, step: int = 1) -> None:
    """``work(begin, end)`` for all parts, shared by torch's number of threads; shares begin at multiples of step."""
    threads = min(torch.get_num_threads(), cost // LEAST, parts)
    if threads < 2:
        work(0, parts)
        return
    share = -(-parts // (threads * step)) * step
    for done in [_pool().submit(work, begin, min(parts, begin + share)) for begin in range(0, parts, share)]:
        done.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(64, thread_name_prefix="kernels")
