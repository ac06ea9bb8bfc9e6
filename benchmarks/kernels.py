"""Our kernels of training beside torch's functions, alone: milliseconds of processor time on one thread, least of many.

GELU is forward and backward together, the norm its backward, the softmax the losses and their gradient from logits as
they lie in memory; sizes are those of 4 layers x 256 with 4,096 tokens of which 614 are asked.

    python benchmarks/kernels.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from nlpkit.kernels import attention as attending
from nlpkit.kernels import pointwise as fused
from nlpkit.layers.packing import Packing


def least(work: Callable[[], object], tries: int = 15) -> float:
    times = []
    for _ in range(tries):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times) * 1000


def row(name: str, torchs: Callable[[], object], ours: Callable[[], object]) -> None:
    ours()  # compiles
    left, right = least(torchs), least(ours)
    print(f"| {name} | {left:.1f} | {right:.1f} | {left / right:.1f} |", flush=True)


def _slope(x: Tensor, tanh: bool) -> Tensor:
    slope = x.clone()
    fused.gelu_(slope, tanh)
    return slope


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| work | torch | kernel | ratio |\n|---|---|---|---|")
    x, up = torch.randn(4096, 1024), torch.randn(4096, 1024)
    for name, how in (("GELU", "none"), ("GELU by tanh", "tanh")):
        row(
            f"{name}, 4 million numbers",
            lambda how=how: (
                torch.nn.functional.gelu(x, approximate=how),
                torch.ops.aten.gelu_backward(up, x, approximate=how),
            ),
            lambda how=how: up * _slope(x, how == "tanh"),
        )
    x, up, weight, bias = torch.randn(4096, 256), torch.randn(4096, 256), torch.ones(256), torch.zeros(256)
    _, mean, scale = torch.native_layer_norm(x, [256], weight, bias, 1e-5)
    row(
        "backward of a norm, a million numbers",
        lambda: torch.ops.aten.native_layer_norm_backward(up, x, [256], mean, scale, weight, bias, [True] * 3),
        lambda: fused.norm_backward(up, x, mean, scale, weight),
    )
    for vocab in (8000, 30522):
        given, target = torch.randn(614, vocab), torch.randint(vocab, (614,))
        logits = given.clone()

        def losses(logits: Tensor = logits, target: Tensor = target) -> Tensor:
            norm = torch.logsumexp(logits, 1, keepdim=True)
            loss = norm[:, 0] - logits.gather(1, target[:, None])[:, 0]
            logits.sub_(norm).exp_()[torch.arange(len(target)), target] -= 1
            return loss

        row(
            f"softmax, losses and gradients, 614 x {vocab:,}",
            losses,
            lambda logits=logits, target=target: fused.softmax_loss_(logits, target),
        )

    for length, causal in ((16, False), (128, False), (128, True), (512, True)):
        packing, up = Packing.of([length] * (4096 // length)), torch.randn(4096, 256)
        parts = [torch.randn(4096, 256, requires_grad=True) for _ in range(3)]

        def torchs(length: int = length, causal: bool = causal, up: Tensor = up, parts: list[Tensor] = parts) -> object:
            heads = [part[:4096].view(-1, length, 4, 64).transpose(1, 2) for part in parts]
            out = (
                torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=causal)
                .transpose(1, 2)
                .reshape(4096, 256)
            )
            return torch.autograd.grad(out, parts, up)

        row(
            f"attention{', causal' * causal}, 4 heads of 64, {4096 // length} x {length}, forward and backward",
            torchs,
            lambda packing=packing, causal=causal, up=up, parts=parts: torch.autograd.grad(
                attending.attend(*parts, packing, ["causal" if causal else "all"], 4), parts, up
            ),
        )


if __name__ == "__main__":
    main()
