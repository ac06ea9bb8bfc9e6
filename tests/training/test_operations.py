"""What the log says of operations: counted by the products, equal to a formula where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import pytest
import torch
from making import OPTIONS, VOCABULARY, make_batch

from nlpkit import objectives
from nlpkit.data.order import Part, Read
from nlpkit.kernels import cost
from nlpkit.layers.linear import linear
from nlpkit.models import family
from nlpkit.models.sizes import config_for
from nlpkit.training import loop
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.planning import simulate
from nlpkit.training.settings import Settings

LENGTHS = [100, 100, 40, 7]


def step(name: str, objective: str, checkpointing: bool = False, layers: int = 4) -> tuple[float, float, Any, Any]:
    """Operations of an update as they are counted and as they are planned; the model, and its batch's target."""
    chosen, settings = family(name), Settings(steps=1, checkpointing=checkpointing)
    torch.manual_seed(0)
    config = config_for(chosen, "tiny", vocab_size=1000, max_len=128, dropout=0.0, n_layers=layers)
    model, task = chosen.build(config, (objective,)), objectives.build(objective, VOCABULARY, OPTIONS)
    batch = make_batch(LENGTHS)
    loop.use_checkpointing(model, checkpointing)
    model.train()
    counted = loop.forward_backward(model, task, Read([[Part(batch)]], 0, {}), settings, 0, Local(model, 1)).operations
    planned = simulate.update(model, task, [Part(batch)], settings).operations
    return counted, planned, model, task.corrupt(batch, loop.Address(0, ("objective", 0)))


def products(model: Any, rows: int, wanted: int, answers: int) -> tuple[float, float]:
    """By hand: operations of a forward's products with weights and of attention, where the last of the layers has
    ``wanted`` rows but for keys and values (Kaplan et al. 2020, section 2.1)."""
    config, squares = model.config, sum(length * length for length in LENGTHS)
    width, inner = config.d_model, 2 * config.d_model * config.d_ff
    layers = (config.n_layers - 1) * rows + wanted
    weights = config.n_layers * rows * 2 * width**2 + layers * (2 * width**2 + inner)
    weights += answers * config.vocab_size * width
    share = config.n_layers - 1 + wanted / rows
    return 2.0 * weights, 2.0 * 2 * squares * width * share


@pytest.mark.parametrize(("name", "objective"), [("bert", "mlm"), ("gpt2", "clm")])
def test_they_are_those_of_the_formula_they_replace(name: str, objective: str) -> None:
    counted, planned, model, (_, target) = step(name, objective)
    answers, rows = target.counts[objective], sum(LENGTHS)
    weights, attention = products(model, rows, answers if name == "bert" else rows, answers)
    if name == "bert":  # the head's dense layer, which the formula left out
        counted -= 6 * answers * model.config.d_model**2
    assert counted == pytest.approx(3 * (weights + attention), rel=0.01)
    assert planned == pytest.approx(counted, rel=0.05)


def test_a_family_without_attention_and_shared_blocks_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    families.add(monkeypatch, tmp_path)
    counted, planned, model, (_, target) = step("fnet", "mlm")
    answers, config = target.counts["mlm"], model.config
    inner = 2 * config.d_model * config.d_ff
    layers = (config.n_layers - 1) * sum(LENGTHS) + answers
    assert counted == 6 * (layers * inner + answers * config.vocab_size * config.d_model)
    assert planned == pytest.approx(counted, rel=1e-6)
    shared, planned, model, _ = step("shared", "clm", layers=6)
    weights, attention = products(model, sum(LENGTHS), sum(LENGTHS), sum(LENGTHS) - len(LENGTHS))
    assert shared == pytest.approx(3 * (weights + attention), rel=0.01)


def test_what_is_computed_again_counts() -> None:
    (plain, *_), (again, *_) = (step("bert", "mlm", checkpointing) for checkpointing in (False, True))
    assert 1.2 * plain < again < 1.34 * plain


def test_torchs_products_count_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = step("gpt2", "clm")[0]
    monkeypatch.setattr("nlpkit.kernels.product.usable", lambda *tensors: False)
    assert step("gpt2", "clm")[0] == pytest.approx(ours, rel=1e-6)
    before, x_MD = cost.counted(), torch.ones(3, 5)
    linear(x_MD, torch.ones(7, 5, requires_grad=True), None)
    assert cost.counted() - before == 2 * 2 * 3 * 5 * 7
