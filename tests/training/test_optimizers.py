"""Each optimizer against another implementation, its state's way through a file, and its bits on any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nlpkit.base.errors import UserError
from nlpkit.training import optimizers
from nlpkit.training.optimizers.base import Optimizer
from nlpkit.training.optimizers.muon import orthogonal
from nlpkit.training.parallel.gradients import clip
from nlpkit.training.settings import Settings


class Toy(nn.Module):
    """An embedding, and blocks of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(40, 24)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([nn.Linear(32, 96), nn.Linear(96, 32), nn.Linear(51, 37)])
        self.head = nn.Linear(32, 5)


def toy(seed: int = 0) -> Toy:
    torch.manual_seed(seed)
    return Toy()


def made(model: nn.Module, name: str, **more: Any) -> Optimizer:
    settings = Settings(steps=1, optimizer=name, **{"weight_decay": 0.1, **more})
    return optimizers.make(model, dict(model.named_parameters()), settings)


def set_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        slope = torch.randn(parameter.shape, generator=generator) * 10.0 ** -(step % 3)
        parameter.grad = slope.to(parameter.dtype)


def trained(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        set_gradients(model, step)
        optimizer.step() if hasattr(optimizer, "param_groups") else optimizer.update(0.01)


def same(left: nn.Module, right: nn.Module, **tolerance: float) -> None:
    for (name, ours), theirs in zip(left.named_parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def decayed(model: nn.Module) -> list[dict[str, Any]]:
    return [
        {"params": [value for value in model.parameters() if value.ndim > 1], "weight_decay": 0.1},
        {"params": [value for value in model.parameters() if value.ndim < 2], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("betas", [(0.9, 0.98), (0.3, 0.98)])
@pytest.mark.parametrize("numbers", [torch.float32, torch.float64])
def test_adamw_is_torchs(monkeypatch: pytest.MonkeyPatch, numbers: torch.dtype, betas: tuple[float, float]) -> None:
    """To the bit, when torch's square root of 32 bits is the nearest number, which it is not for one in six."""
    monkeypatch.setattr(torch.Tensor, "sqrt", lambda x: torch.from_numpy(np.sqrt(x.numpy())))
    ours, theirs = toy().to(numbers), toy().to(numbers)
    for model in (ours, theirs):  # a size that is no multiple of 16, and a weight that does not lie in its order
        model.embeddings.weight = nn.Parameter(model.embeddings.weight.detach().T.contiguous().T)
    trained(ours, made(ours, "adamw", beta1=betas[0], beta2=betas[1]), range(5))
    trained(theirs, torch.optim.AdamW(decayed(theirs), lr=0.01, betas=betas, foreach=False), range(5))
    same(ours, theirs, rtol=0, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("beta1", [None, 0.9])
def test_adafactor_is_transformers(beta1: float | None) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    ours, theirs = toy(), toy()
    trained(ours, made(ours, "adafactor", beta1=beta1, weight_decay=0.0), range(6))
    trained(
        theirs,
        optimization.Adafactor(
            theirs.parameters(), lr=0.01, beta1=beta1, scale_parameter=False, relative_step=False, warmup_init=False
        ),
        range(6),
    )
    same(ours, theirs, rtol=1e-5, atol=1e-7)


def test_muon_is_torchs_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    muon = pytest.importorskip("torch.optim._muon", reason="torch has no Muon before 2.9")
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # theirs would round to it
    ours, theirs = toy(), toy()
    trained(ours, made(ours, "muon"), range(4))
    names = optimizers.matrices(theirs)
    assert names == {f"encoder.layers.{number}.weight" for number in range(3)}
    matrices = [value for name, value in theirs.named_parameters() if name in names]
    rest = [value for name, value in theirs.named_parameters() if name not in names]
    first = muon.Muon(matrices, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    second = torch.optim.AdamW(
        [
            {**group, "params": [value for value in group["params"] if any(value is one for one in rest)]}
            for group in decayed(theirs)
        ],
        lr=0.01,
    )
    for step in range(4):
        set_gradients(theirs, step)
        first.step()
        second.step()
    same(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32), (37, 51), (5, 80), (1, 7)])
def test_orthogonal_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonal(matrix) @ right.T
    values = found.diagonal()
    assert values[sizes > 0.05 * sizes[0]].min() > 0.6 and values.max() < 1.3
    assert (found - values.diag()).abs().max() < 1e-4
    assert not orthogonal(torch.zeros(shape)).any()


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_state_survives_a_file_and_its_size_is_foretold(name: str) -> None:
    whole, half = toy(), toy()
    trained(whole, made(whole, name), range(6))
    first = made(half, name)
    assert not first.state()
    trained(half, first, range(3))
    saved = {key: value.numpy().copy() for key, value in first.state().items()}
    assert sum(value.nbytes for value in saved.values()) == first.bytes()
    settings = Settings(steps=1, optimizer=name)
    with torch.device("meta"):
        assert optimizers.state_bytes(Toy(), settings) == first.bytes()
    second = made(half, name)
    second.load(saved)
    trained(half, second, range(3, 6))
    same(half, whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_same_bits_on_any_threads(name: str) -> None:
    before, found = torch.get_num_threads(), set()
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        model = nn.ModuleDict({"encoder": nn.Module(), "head": nn.Linear(700, 1003)})
        model["encoder"].layers = nn.ModuleList([nn.Linear(256, 1024), nn.Linear(100, 300), nn.Linear(300, 300)])
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.01)
        trained(model, made(model, name), range(2))
        found.add(b"".join(value.detach().numpy().tobytes() for value in model.parameters()))
    torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_same_bits_however_a_weight_lies(name: str) -> None:
    """A directory of Hugging Face's may have weights across, which are read as views."""
    plain, across = toy(), toy()
    for layer in across.encoder.layers:
        layer.weight = nn.Parameter(layer.weight.detach().T.contiguous().T)
    for model in (plain, across):
        optimizer = made(model, name)
        for step in range(3):
            set_gradients(model, step)
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
            clip([parameter.grad for parameter in model.parameters()], 0.5)
            optimizer.update(0.01)
    same(across, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_without_a_gradient_nothing_changes(name: str) -> None:
    model = toy()
    optimizer = made(model, name)
    set_gradients(model, 0)
    model.embeddings.weight.grad = model.encoder.layers[1].weight.grad = None
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer.update(0.01)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (key in ("embeddings.weight", "encoder.layers.1.weight"))
    assert not any(key.startswith(("embeddings", "encoder.layers.1.weight")) for key in optimizer.state())


def test_a_factored_state_is_small() -> None:
    """Of a matrix, one number a row and one a column."""
    model = nn.Linear(1000, 500, bias=False)
    assert made(model, "adafactor").bytes() == 4 * (1000 + 500 + 1)
    assert made(model, "adamw").bytes() == 4 * (2 * 1000 * 500 + 1)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "muon"'):
        Settings(steps=1, optimizer="moun")
    with pytest.raises(UserError, match=r"--adam-eps changes nothing: adafactor does not read it"):
        Settings(steps=1, optimizer="adafactor", adam_eps=1e-6)
    assert np.isfinite(Settings(steps=1, optimizer="muon", momentum=0.9).lr_at(0))
