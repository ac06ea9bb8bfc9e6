"""The distillation losses: equal to torch's own and to closed forms, with the gradients they should have."""

import math

import pytest
import torch
from torch import nn

from nlpkit.compression import losses


def randoms(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_targets_equal_torchs_kl_div_loss(temperature):
    student, teacher = randoms(7, 11), randoms(7, 11, seed=1)
    known = nn.KLDivLoss(reduction="sum")(
        torch.log_softmax(student / temperature, 1), torch.softmax(teacher / temperature, 1)
    )
    found = losses.soft_targets(student, teacher, temperature)
    assert found.item() == pytest.approx(known.item() * temperature**2)


def test_soft_targets_in_closed_form():
    # Teacher (3/4, 1/4), student (1/2, 1/2), T = 1.
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    known = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert losses.soft_targets(torch.zeros(1, 2), teacher, 1.0).item() == pytest.approx(known, rel=1e-6)


def test_soft_targets_are_zero_only_for_equal_distributions():
    logits = randoms(3, 5)
    assert losses.soft_targets(logits, logits + 4.0, 2.0).item() == pytest.approx(0, abs=1e-12)
    assert losses.soft_targets(logits, logits * 2, 2.0).item() > 0


def test_at_high_temperature_the_gradient_is_that_of_matching_logits():
    # Hinton et al. 2015, section 2.1: for large T, dC/dz = (z - v) / n for centred logits.
    student, teacher = randoms(1, 6).requires_grad_(), randoms(1, 6, seed=1)
    losses.soft_targets(student, teacher, 1e5).backward()
    centred = lambda values: values - values.mean()  # noqa: E731
    expected = (centred(student.detach()) - centred(teacher)) / 6
    assert student.grad.numpy() == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-5)


def test_cosine_equals_torchs_cosine_embedding_loss():
    student, teacher = randoms(9, 4), randoms(9, 4, seed=1)
    known = nn.CosineEmbeddingLoss(reduction="sum")(student, teacher, torch.ones(9))
    assert losses.cosine(student, teacher).item() == pytest.approx(known.item())
    assert losses.cosine(student, 3 * student).item() == pytest.approx(0, abs=1e-12)
    assert losses.cosine(student, -student).item() == pytest.approx(18)


def test_gradients_are_those_of_finite_differences():
    teacher = randoms(3, 4, seed=1)
    for loss in (lambda x: losses.soft_targets(x, teacher, 2.0), lambda x: losses.cosine(x, teacher)):
        assert torch.autograd.gradcheck(loss, randoms(3, 4).requires_grad_())
