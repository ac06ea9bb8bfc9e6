"""The precision of a model's computations: float32, or 16 bits where the device supports them.

Weights, gradients, moments, norms, softmax over the vocabulary and losses are float32 in any case; products of
matrices, and what lies between them, are not (Micikevicius et al. 2018, "Mixed Precision Training", section 3; torch's
autocast). bfloat16 has the range of float32. float16 has not: its losses are scaled before the backward by a power of
two. When a gradient overflows, the update is skipped and the scale is halved; after 2,000 updates without an overflow
it is doubled (section 3.2).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch

from nlpkit.base import events
from nlpkit.base.errors import RunError, UserError, choose
from nlpkit.training.parallel.gradients import Parameters, RowNorms, gradient_norm
from nlpkit.training.resume import Progress

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STEADY = 2000  # updates without an overflow after which the scale doubles


def check_precision(precision: str, device: str) -> None:
    """Errors: an unknown precision; float16 on a CPU without it. bfloat16 works everywhere; a note says where it is
    slow."""
    choose(PRECISIONS, precision, field="precision")
    if torch.device(device).type != "cpu":
        return
    if precision == "float16" and not _has("fp16"):
        hint = f"use {'bfloat16, which it has' if _has('bf16') else 'float32'}"
        raise UserError("precision is float16, for which this CPU has no instructions", hint=hint)
    if precision == "bfloat16" and not _has("bf16"):
        events.note("this CPU has no bfloat16 instructions: bfloat16 takes many times as long as float32")


def _has(kind: str) -> bool:
    """Whether the CPU has instructions for products of ``kind``, fp16 or bf16 (AVX-512 or AMX)."""
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported", None)
    return bool(supported is not None and supported())


def computing(precision: str, device: str) -> AbstractContextManager[object]:
    """Compute the forward in ``precision`` inside the block; the backward uses the precision of its forward."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=PRECISIONS[precision])


def first_scale(precision: str) -> float:
    """The scale of the losses at the first update."""
    return 2.0**16 if precision == "float16" else 1.0


def unscale(progress: Progress, parameters: Parameters, rows: RowNorms) -> bool:
    """Divide the gradients by the scale, and choose the next scale. False when a gradient has overflowed, and the
    update must be skipped. Errors: RunError when the scale would fall below 1: they are not finite at any scale."""
    scale = progress.scale
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    if not math.isfinite(gradient_norm(gradients, rows)):
        progress.scale, progress.steady = scale / 2, 0
        if progress.scale < 1:
            raise RunError(
                f"the gradient is not a number at step {progress.step + 1:,}, in float16 at any scale",
                hint="a smaller --lr, or --precision bfloat16",
            )
        return False
    torch._foreach_mul_(gradients, 1 / scale)
    progress.steady += 1
    if progress.steady == STEADY:
        progress.scale, progress.steady = scale * 2, 0
    return True
