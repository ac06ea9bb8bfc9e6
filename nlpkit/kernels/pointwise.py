"""Compiled kernels as functions of tensors: when training may use them, and how they are run in threads.

They are for float32 on a CPU. Elsewhere (a GPU, half precision, widths that are no multiple of 8) and without gradients
torch's functions are used, so that `predict`, `embed` and `generate` start without a compiler. The choice depends on a
tensor's type, device and width, never on its number of rows.
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
WORTH_A_THREAD = 1 << 21  # multiplications and additions that are worth a thread


def usable(x: Tensor, step: int = 8) -> bool:
    """Whether kernels that take ``step`` numbers at once take this tensor; not if it has no memory (memory plans)."""
    plain = type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.shape[-1] % step == 0


def gelu_(x: Tensor, tanh: bool) -> Tensor:
    """GELU; x, which is contiguous, becomes its derivative."""
    out = pages.empty(x, *x.shape)
    kernel = KERNELS.gelu_tanh if tanh else KERNELS.gelu
    width, at, to = x.shape[-1], x.data_ptr(), out.data_ptr()
    run_in_threads(
        lambda begin, end: kernel(at, to, at, begin * width, end * width), x.numel() // width, 32 * x.numel()
    )
    return out


def norm_backward(
    grad_ND: Tensor, x_ND: Tensor, mean_N1: Tensor, scale_N1: Tensor, weight_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a norm's input, weight and bias."""
    rows, width = grad_ND.shape
    blocks = -(-rows // NORM_ROWS)
    dx_ND, sums = torch.empty_like(x_ND), grad_ND.new_empty(blocks, 2, width)
    dweights = grad_ND.new_zeros(2, width)
    inputs = [part.detach().contiguous() for part in (grad_ND, x_ND, mean_N1, scale_N1, weight_D)]
    addresses = [part.data_ptr() for part in (*inputs, dx_ND, sums)]

    def work(begin: int, end: int) -> None:
        workspace = torch.empty(LANES)
        KERNELS.norm_backward(*addresses, workspace.data_ptr(), width, begin, end)

    run_in_threads(work, rows, 32 * rows * width, NORM_ROWS)
    if rows:
        KERNELS.add_blocks(sums.data_ptr(), dweights.data_ptr(), blocks, 2 * width)
    return dx_ND, dweights[0], dweights[1]


def softmax_loss_(logits_MV: Tensor, target_M: Tensor) -> Tensor:
    """-log softmax(logits)[target], [M]; the logits become its gradient. Of any V."""
    rows, width = logits_MV.shape
    loss_M, target_M = logits_MV.new_empty(rows), target_M.contiguous()
    addresses = [part.data_ptr() for part in (logits_MV, target_M, loss_M)]

    def work(begin: int, end: int) -> None:
        workspace = torch.empty(2 * LANES)
        KERNELS.softmax_loss(*addresses, workspace.data_ptr(), width, begin, end)

    run_in_threads(work, rows, 32 * rows * width)
    return loss_M


def run_in_threads(work: Callable[[int, int], Any], parts: int, cost: int, step: int = 1) -> None:
    """Run ``work(begin, end)`` on chunks of the parts, in torch's number of threads; chunks begin at multiples of
    ``step``, and a small ``cost`` (operations) is run at once."""
    threads = min(torch.get_num_threads(), cost // WORTH_A_THREAD, parts)
    if threads < 2:
        work(0, parts)
        return
    chunk = -(-parts // (threads * step)) * step
    for future in [_pool().submit(work, begin, min(parts, begin + chunk)) for begin in range(0, parts, chunk)]:
        future.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(64, thread_name_prefix="kernels")
