"""The attention of training: its workspace is never read before it is written, older CPUs compute the same bits, and
torch computes what kernels do not take."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nlpkit.kernels import attention as attending
from nlpkit.layers.attention import Attention
from nlpkit.layers.packing import Packing
from nlpkit.layers.view import View

LENGTHS = [[1, 1], [17, 17, 5], [128], [300], [73, 72, 71, 65, 64, 63]]
KINDS = ["all", "causal", "mask"]
HEADS = 3
BEFORE = [0.0, torch.inf, -torch.inf, torch.nan, -3e38]


def computed(packing: Packing, width: int, kind: str) -> list[Tensor]:
    """The result, and the gradients of q, k and v."""
    generator = torch.Generator().manual_seed(packing.total + width)
    *leaves, up = (torch.randn(packing.total, HEADS * width, generator=generator) for _ in range(4))
    q, k, v = (leaf.requires_grad_() for leaf in leaves)
    masks = [
        torch.rand(run.count, 1, run.length, run.length, generator=generator) < 0.5
        for run in packing.runs
        if kind == "mask"
    ]
    out = attending.attend(q, k, v, View.of(packing, causal=kind == "causal", masks=masks), HEADS)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), up)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [4, 8, 24, 64])
def test_the_workspace_is_never_read_before_it_is_written(
    width: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lengths in LENGTHS:
        packing, results = Packing.of(lengths), list[list[Tensor]]()
        for before in BEFORE:
            with monkeypatch.context() as context:
                context.setattr(attending.torch, "empty", lambda size, before=before: torch.full((size,), before))
                results.append(computed(packing, width, kind))
        for other in results[1:]:
            assert all(map(torch.equal, results[0], other)), lengths


def hashed(before: float) -> str:
    """The hash of all results, with workspaces that are filled with ``before``."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(attending.torch, "empty", lambda size: torch.full((size,), before))
        parts = [part for kind in KINDS for width in (8, 24, 64) for lengths in LENGTHS
                 for part in computed(Packing.of(lengths), width, kind)]  # fmt: skip
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def test_same_bits_on_an_older_cpu() -> None:
    """Its vectors are half as wide, its tiles a quarter; the sums are the same, whatever the workspace held."""
    older = {"NLPKIT_LEVEL": "x86-64-v3"}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env={**os.environ, **older})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", *[hashed(0.0)] * len(BEFORE)]


def test_a_trainable_mask_has_its_gradient() -> None:
    """Scores that are added, as those of relative positions."""
    torch.manual_seed(0)
    scores = torch.zeros(1, 2, 40, 40).requires_grad_()

    packing = Packing.of([5, 3])
    view = View.of(packing, masks=[scores[..., : run.length, : run.length] for run in packing.runs])
    Attention(16, 2)(torch.randn(8, 16), view).square().sum().backward()
    assert scores.grad is not None and scores.grad[..., :5, :5].abs().min() > 0 and not scores.grad[..., 5:].any()


def test_tensors_without_memory_go_to_torch() -> None:
    layer, packing = Attention(16, 2), Packing.of([5, 3])
    _ = packing.runs
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.randn(8, 16), View.of(packing)).shape == (8, 16)


if __name__ == "__main__":
    from nlpkit.kernels.shapes import PANEL

    print(PANEL, *map(hashed, BEFORE))
