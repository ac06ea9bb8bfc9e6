"""In which numbers a model computes: float32, or half as many bits where the device has them.

Weights, gradients, moments, norms, softmax over the vocabulary and losses are float32 in any case; products of
matrices, and what lies between them, are not (Micikevicius et al. 2018, "Mixed Precision Training", section 3; torch's
autocast). bfloat16 has the range of float32. float16 has not: its losses are multiplied before the backward, by a power
of two that halves when a gradient overflows, whose update is left out, and doubles after 2,000 that did not (section
3.2).
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
    """Errors: an unknown one; float16 where the device computes it slowly, and bfloat16 would do. bfloat16 works
    everywhere; where it is slow, that is said."""
    choose(PRECISIONS, precision, field="precision")
    if torch.device(device).type != "cpu":
        return
    if precision == "float16" and not _has("fp16"):
        hint = "bfloat16 is this processor's" if _has("bf16") else "float32 is what it has"
        raise UserError("precision is float16, which this processor does not compute by itself", hint=hint)
    if precision == "bfloat16" and not _has("bf16"):
        events.note("this processor has no bfloat16 of its own: it will take many times as long as float32")


def _has(kind: str) -> bool:
    """Whether the processor multiplies matrices of ``kind``, fp16 or bf16 (AVX-512 or AMX)."""
    found = getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported", None)
    return bool(found is not None and found())


def computing(precision: str, device: str) -> AbstractContextManager[object]:
    """Compute the forward in ``precision`` inside the block; the backward follows it by itself."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=PRECISIONS[precision])


def first_scale(precision: str) -> float:
    """What losses are multiplied by at the first update."""
    return 2.0**16 if precision == "float16" else 1.0


def unscale(progress: Progress, parameters: Parameters, rows: RowNorms) -> bool:
    """Divide the gradients by the scale, and choose the next one. False when one has overflowed, and the update is to
    be left out. Errors: RunError when a scale below one would be needed: the gradients are no numbers at all."""
    scale = progress.scale
    gradients = [value.grad for value in parameters.values() if value.grad is not None]
    if not math.isfinite(gradient_norm(gradients, rows)):
        progress.scale, progress.steady = scale / 2, 0
        if progress.scale < 1:
            raise RunError(
                f"the gradient is not a number at step {progress.step + 1:,}, in float16 of any scale",
                hint="a smaller --lr, or --precision bfloat16",
            )
        return False
    torch._foreach_mul_(gradients, 1 / scale)
    progress.steady += 1
    if progress.steady == STEADY:
        progress.scale, progress.steady = scale * 2, 0
    return True
