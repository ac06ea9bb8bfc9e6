"""Settings, schedules and the optimizer's arithmetic."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from nlpkit.base.errors import UserError
from nlpkit.training.parallel import gradients as grads
from nlpkit.training.settings import Settings


def test_schedules_rise_and_fall_as_their_papers_say() -> None:
    settings = {
        name: Settings(steps=100, lr=1.0, schedule=name) for name in ("constant", "linear", "cosine", "inverse-sqrt")
    }
    for item in settings.values():
        assert [item.lr_at(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert item.lr_at(10) == pytest.approx(1.0, abs=0.06)
    assert settings["constant"].lr_at(99) == 1.0
    assert settings["linear"].lr_at(55) == pytest.approx(0.5)
    assert settings["cosine"].lr_at(55) == pytest.approx(0.5)
    assert settings["inverse-sqrt"].lr_at(39) == pytest.approx(math.sqrt(10 / 40))
    assert 0 < settings["linear"].lr_at(99) < 0.02
    for name in ("trapezoid", "wsd"):
        late = Settings(steps=100, lr=2.0, schedule=name)
        assert late.lr_at(10) == late.lr_at(80) == 2.0 > late.lr_at(81) > late.lr_at(99) > 0
    assert Settings(steps=100, lr=1.0, final_lr_fraction=0.2).lr_at(99) == pytest.approx(0.2, abs=0.02)


def test_schedules_equal_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    parameter = torch.nn.Parameter(torch.zeros(1))
    stable = partial(transformers.get_wsd_schedule, num_decay_steps=30, min_lr_ratio=0.1)
    until: dict[str, float] = {"decay_fraction": 0.3, "final_lr_fraction": 0.1}
    for name, make, more in (
        ("linear", transformers.get_linear_schedule_with_warmup, {}),
        ("cosine", transformers.get_cosine_schedule_with_warmup, {}),
        ("trapezoid", partial(stable, decay_type="linear"), until),
        ("wsd", partial(stable, decay_type="1-sqrt"), until),
    ):
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        theirs = make(optimizer, num_warmup_steps=10, num_training_steps=100)
        ours = Settings(steps=100, lr=1.0, schedule=name, **more)  # type: ignore[arg-type]
        for step in range(100):
            # Theirs starts at 0, so that its first update does nothing; ours starts one step later.
            if step >= 10:
                assert ours.lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("steps", -1, "steps is -1"),
        ("lr", float("nan"), "lr is nan"),
        ("warmup_fraction", 1.5, "warmup-fraction is 1.5"),
        ("eval_every", 0, "eval-every is 0"),
        ("schedule", "linaer", 'did you mean "linear"'),
    ],
)
def test_what_is_refused(field: str, value: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Settings(**{"steps": 10, field: value})  # type: ignore[arg-type]


def test_gradient_norm_and_clipping_equal_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(*shape)) for shape in [(300, 40), (40,), (1, 7), (3, 4, 5)]]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    norm = grads.clip(gradients, 1.0)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item(), rel=1e-6)
    for ours, parameter in zip(gradients, parameters, strict=True):
        assert torch.allclose(ours, parameter.grad, atol=1e-7)


def test_gradient_norm_has_the_same_bits_on_any_threads() -> None:
    gradients = [torch.randn(3001, 512, generator=torch.Generator().manual_seed(1))]
    before = torch.get_num_threads()
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.add(grads.gradient_norm(gradients))
    torch.set_num_threads(before)
    assert len(found) == 1
