"""Cross-entropy computed from hidden states, without ever storing all logits.

The vocabulary projection is the largest product of a small model. Its logits [M, V] are computed one chunk of rows at a
time, and the gradients of the chunk right after them, so nothing of size M x V is saved for the backward:

    hidden [M, D] --chunk--> logits [chunk, V] --> losses [chunk]
                             softmax - one-hot --> rows of dhidden; added to dweight, dbias

Shapes: M targets, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from nlpkit.kernels import cost, product
from nlpkit.kernels import pointwise as fused
from nlpkit.layers.linear import filled, linear, more_columns
from nlpkit.machine import pages

CHUNK = 1024  # rows; 1024 x 8,000 logits are 33 MB


def total(x_M: Tensor) -> Tensor:
    """The sum of a vector as a product with ones: the bits of torch.sum depend on the number of threads. In double
    precision where the device has it, so that many small batches have the loss of a large one to 1e-6."""
    wide = x_M if x_M.device.type == "mps" else x_M.double()
    return (wide.reshape(1, -1) @ wide.new_ones(wide.numel(), 1)).reshape(()).to(x_M.dtype)


def _chunk_loss(logits_MV: Tensor, target_m: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [m] and log-normalisers [M, 1] of one chunk, whose logits may have more rows than there are targets."""
    norm_M1 = torch.logsumexp(logits_MV, 1, keepdim=True)
    count = len(target_m)
    return norm_M1[:count, 0] - logits_MV[:count].gather(1, target_m[:, None])[:, 0], norm_M1


def _loss_and_gradient(logits_MV: Tensor, target_m: Tensor) -> Tensor:
    """Losses [m] of one chunk, whose logits are overwritten by the losses' gradient, 0 in padded rows."""
    count = len(target_m)
    if fused.usable(logits_MV, step=1):
        loss_m = fused.softmax_loss_(logits_MV[:count], target_m)
    else:
        loss_m, norm_M1 = _chunk_loss(logits_MV, target_m)
        logits_MV.sub_(norm_M1).exp_()  # softmax
        logits_MV[torch.arange(count, device=target_m.device), target_m] -= 1
    logits_MV[count:] = 0
    return loss_m


def _product(part_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, buffer_MV: Tensor) -> Tensor:
    """part weight^T + bias, into ``buffer_MV``: allocating new memory would cost as much as the softmax."""
    if bias_V is None:
        return torch.mm(part_MD, weight_VD.T, out=buffer_MV)
    return torch.addmm(bias_V, part_MD, weight_VD.T, out=buffer_MV)


def _narrow(x: Tensor) -> torch.dtype:
    """The dtype of products: autocast's, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]  # of hidden states, weight and bias


def _by_kernels(
    hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, target_M: Tensor, chunk: int, needed: bool
) -> tuple[list[Tensor], Gradients]:
    """The losses of each chunk, and if needed the gradients of their sum, by nlpkit/kernels/product.py."""
    dhidden_MD = torch.empty_like(hidden_MD) if needed else None
    dweight_VD = pages.empty(weight_VD, *weight_VD.shape) if needed else None
    dbias_V = None if bias_V is None or not needed else bias_V.new_empty(bias_V.shape)
    if dweight_VD is not None and not len(target_M):  # no chunk computes them
        product.weight_gradient(weight_VD.new_empty(0, len(weight_VD)), hidden_MD, dweight_VD, dbias_V)
    buffer_MV = pages.empty(weight_VD, min(chunk, len(target_M)), len(weight_VD))  # reused by all chunks
    losses = []
    for start in range(0, len(target_M), chunk):
        target, part = target_M[start : start + chunk], hidden_MD[start : start + chunk]
        logits = product.forward(part, weight_VD, bias_V, buffer_MV[: len(target)])
        if dhidden_MD is None or dweight_VD is None:
            losses.append(_chunk_loss(logits, target)[0])
            continue
        losses.append(_loss_and_gradient(logits, target))
        dhidden_MD[start : start + chunk] = product.input_gradient(logits, weight_VD)
        product.weight_gradient(logits, part, dweight_VD, dbias_V, adding=start > 0)
    return losses, (dhidden_MD, dweight_VD, dbias_V)


def _by_torch(
    hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, target_M: Tensor, chunk: int, needed: bool
) -> tuple[list[Tensor], Gradients]:
    """The same by torch, for any dtype and device."""
    biased = bias_V is not None
    cost.count((6 if needed else 2) * len(target_M) * weight_VD.numel())
    (vocab, width), rest_V, rest_D = weight_VD.shape, more_columns(len(weight_VD)), more_columns(weight_VD.shape[1])
    if rest_V or rest_D:  # pad odd sizes (nlpkit/layers/linear.py), with pieces of probability 0
        weight_VD = pad(weight_VD, (0, rest_D, 0, rest_V))
        bias_V = pad(weight_VD.new_zeros(vocab) if bias_V is None else bias_V, (0, rest_V), value=-torch.inf)
    narrow = _narrow(hidden_MD)
    product_VD, product_bias_V = weight_VD.to(narrow), None if bias_V is None else bias_V.to(narrow)
    dhidden_MD = torch.empty_like(hidden_MD) if needed else None
    dweight_VD = torch.zeros_like(weight_VD) if needed else None
    dbias_V = torch.zeros_like(bias_V) if needed and biased and bias_V is not None else None
    buffer_MV = pages.empty(product_VD, filled(min(chunk, len(target_M))), len(product_VD))  # reused by all chunks
    losses = []
    for start in range(0, len(target_M), chunk):
        target = target_M[start : start + chunk]
        count = len(target)
        part = pad(hidden_MD[start : start + chunk], (0, rest_D, 0, filled(count) - count)).to(narrow)
        logits = _product(part, product_VD, product_bias_V, buffer_MV[: len(part)]).to(weight_VD.dtype)
        if dhidden_MD is None or dweight_VD is None:
            losses.append(_chunk_loss(logits, target)[0])
            continue
        losses.append(_loss_and_gradient(logits, target))
        dlogits = logits.to(narrow)
        dhidden_MD[start : start + chunk] = (dlogits @ product_VD)[:count, :width]
        if narrow == dweight_VD.dtype:
            dweight_VD.addmm_(dlogits.T, part)
        else:
            dweight_VD += dlogits.T @ part
        if dbias_V is not None:
            dbias_V += (logits.new_ones(1, len(logits)) @ logits)[0]
    if dweight_VD is not None:
        dweight_VD = dweight_VD[:vocab, :width]
    return losses, (dhidden_MD, dweight_VD, None if dbias_V is None else dbias_V[:vocab])


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, target_M: Tensor, chunk: int
    ) -> Tensor:
        way = _by_kernels if product.usable(hidden_MD, weight_VD, bias_V) else _by_torch
        losses, gradients = way(hidden_MD, weight_VD, bias_V, target_M, chunk, any(ctx.needs_input_grad[:3]))
        ctx.save_for_backward(*gradients)
        return total(torch.cat(losses)) if losses else hidden_MD.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # In place, because the backward runs once.
        scaled = [None if saved is None else saved.mul_(grads[0]) for saved in ctx.saved_tensors]
        return scaled[0], scaled[1], scaled[2], None, None


def linear_cross_entropy(
    hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, target_M: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """SUM over the targets of -log softmax(hidden weight^T + bias)[target], a scalar with gradients."""
    loss: Tensor = _LinearCrossEntropy.apply(hidden_MD, weight_VD, bias_V, target_M, chunk)  # type: ignore[no-untyped-call]
    return loss


def token_losses(
    hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, target_M: Tensor, *, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """For evaluation: each target's loss [M], and whether it was the most likely piece [M] bool."""
    return chunk_losses(lambda part: linear(part, weight_VD, bias_V), hidden_MD, target_M, chunk)


@torch.no_grad()
def chunk_losses(
    score: Callable[[Tensor], Tensor], hidden_MD: Tensor, target_M: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """`token_losses` with any function from hidden states to logits, ``chunk`` rows at a time."""
    losses, right = [], []
    for start in range(0, len(target_M), chunk):
        target = target_M[start : start + chunk]
        logits = score(hidden_MD[start : start + chunk])
        losses.append(_chunk_loss(logits, target)[0])
        right.append(logits.argmax(1) == target)
    if not losses:
        return hidden_MD.new_zeros(0), torch.zeros(0, dtype=torch.bool)
    return torch.cat(losses), torch.cat(right)


def cross_entropy_sum(logits_BK: Tensor, target_B: Tensor) -> Tensor:
    """SUM of the losses of a small classifier, the same bits on any number of threads."""
    wide = logits_BK.float() if logits_BK.dtype.itemsize < 4 else logits_BK
    return total(torch.nn.functional.cross_entropy(wide, target_B, reduction="none"))
