"""torch.compile of a model's parts: the same numbers, compiled once for all layers and lengths, refused where it is of
no use. There is no GPU here: torch's own arithmetic on a processor stands for one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from making import OPTIONS, VOCABULARY, make_batch, token_file
from torch import Tensor

import nlpkit
from nlpkit import objectives
from nlpkit.base.errors import UserError
from nlpkit.data.order import Part, Read
from nlpkit.kernels import pointwise as fused
from nlpkit.kernels import product
from nlpkit.models import FAMILIES, family
from nlpkit.models.base import Model
from nlpkit.models.sizes import config_for
from nlpkit.training import loop
from nlpkit.training.compiling import compile_parts
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.settings import Settings


@pytest.mark.parametrize("name", FAMILIES)
def test_compiled_parts_compute_the_same_and_are_compiled_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend  # two seconds, which not every worker shall wait

    monkeypatch.setattr(product, "usable", lambda *tensors: False)
    monkeypatch.setattr(fused, "usable", lambda x, step=8: False)
    torch._dynamo.reset()  # type: ignore[attr-defined]
    chosen = family(name)
    torch.manual_seed(0)
    config = config_for(chosen, "tiny", vocab_size=1000, max_len=128, dropout=0.0, n_layers=5)
    model = chosen.build(config, (chosen.objective,))
    task, settings = objectives.build(chosen.objective, VOCABULARY, OPTIONS), Settings(steps=1)
    batches = [make_batch([64, 30, 9]), make_batch([100, 100, 7]), make_batch([11, 12])]

    def learnt(model: Model) -> list[tuple[float, list[Tensor], float]]:
        found = []
        for batch in batches:
            model.zero_grad()
            computed = loop.forward_backward(model, task, Read([[Part(batch)]], 0, {}), settings, 0, Local(model, 1))
            gradients = [value.grad.clone() for value in model.parameters() if value.grad is not None]
            found.append((computed.sums[task.name], gradients, computed.operations))
        return found

    names, before = list(model.state_dict()), learnt(model)
    counter = CompileCounterWithBackend("aot_eager")
    compile_parts(model, backend=counter)
    after = learnt(model)
    assert list(model.state_dict()) == names
    # A norm and a feed-forward layer, each with some lengths taken for fixed before they are known to vary.
    assert 2 <= counter.frame_count <= 8
    for (loss, gradients, operations), (expected, slopes, counted) in zip(after, before, strict=True):
        assert operations == counted > 0
        assert loss == pytest.approx(expected, rel=1e-6)
        assert len(gradients) == len(slopes) > 10
        for one, other in zip(gradients, slopes, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_on_a_processor_it_is_refused(tmp_path: Path) -> None:
    tokens = token_file(tmp_path / "tokens.safetensors", documents=5)
    with pytest.raises(UserError, match="compile is for GPUs"):
        nlpkit.pretrain(tokens, tmp_path / "m.safetensors", size="tiny", steps=1, compile=True)
    assert not (tmp_path / "m.safetensors").exists()


def test_the_loop_compiles_what_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr("nlpkit.stages.base.check_compile", lambda asked, device: None)
    monkeypatch.setattr(loop, "compile_parts", lambda model: compiled.append(model.family))
    tokens = token_file(tmp_path / "tokens.safetensors", documents=5)
    for asked in (False, True):
        nlpkit.pretrain(tokens, tmp_path / f"{asked}.safetensors", size="tiny", steps=1, compile=asked, threads=1)
    assert compiled == ["bert"]
