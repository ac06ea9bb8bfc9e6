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

from nlpkit.machine import room

LEAST = 1 << 21  # products and additions that are worth a thread


def usable(x: Tensor, step: int = 8) -> bool:
    """Whether kernels that take ``step`` numbers at a time take this tensor; one without memory (an estimate's) not."""
    plain = type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.shape[-1] % step == 0


def gelu_(x: Tensor, tanh: bool) -> Tensor:
    """GELU; x, which is contiguous, becomes its derivative."""
    from nlpkit.kernels import pointwise_code as kernels

    out = room.empty(x, *x.shape)
    kernel = kernels.gelu_tanh if tanh else kernels.gelu
    width = x.shape[-1]
    arrays = [_flat(part) for part in (x, out, x)]
    share(lambda begin, end: kernel(*arrays, begin * width, end * width), x.numel() // width, 32 * x.numel())
    return out


def norm_backward(
    grad_ND: Tensor, x_ND: Tensor, mean_N1: Tensor, scale_N1: Tensor, weight_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a norm's input, weight and bias."""
    from nlpkit.kernels import pointwise_code as kernels

    rows, width = grad_ND.shape
    blocks = -(-rows // kernels.BLOCK)
    dx_ND, sums = torch.empty_like(x_ND), grad_ND.new_empty(blocks, 2, width)
    dweights = grad_ND.new_zeros(2, width)
    weight_D = weight_D.clone()  # numpy fixes a tensor's memory, and that of a sharded weight must stay torch's
    arrays = [_flat(part.contiguous()) for part in (grad_ND, x_ND, mean_N1, scale_N1, weight_D)]
    results = [_flat(dx_ND), _flat(sums)]
    share(lambda begin, end: kernels.norm_backward(*arrays, *results, width, begin, end), rows, 32 * rows * width,
          kernels.BLOCK)  # fmt: skip
    if rows:
        kernels.add_blocks(_flat(sums), _flat(dweights), blocks, 2 * width)
    return dx_ND, dweights[0], dweights[1]


def softmax_loss_(logits_MV: Tensor, target_M: Tensor) -> Tensor:
    """-log softmax(logits)[target], [M]; the logits become its gradient. Of any V."""
    from nlpkit.kernels import pointwise_code as kernels

    rows, width = logits_MV.shape
    loss_M = logits_MV.new_empty(rows)
    arrays = [_flat(part) for part in (logits_MV, target_M.contiguous(), loss_M)]
    share(lambda begin, end: kernels.softmax_loss(*arrays, width, begin, end), rows, 32 * rows * width)
    return loss_M


def _flat(x: Tensor) -> Any:
    """The same memory as an array of one dimension."""
    return x.detach().view(-1).numpy()


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
