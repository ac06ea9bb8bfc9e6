"""Of some tokens only: the numbers of the whole, without the work for the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from making import OPTIONS, VOCABULARY, make_batch
from torch import Tensor

from nlpkit import objectives
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted, wanted_by_all
from nlpkit.kernels import product
from nlpkit.layers import inference
from nlpkit.layers.block import use_checkpointing
from nlpkit.layers.packing import rows
from nlpkit.models import FAMILIES, family
from nlpkit.models.base import Model
from nlpkit.models.load import add_classifier
from nlpkit.models.sizes import config_for
from nlpkit.tasks import kind
from nlpkit.tasks.pooling import POOLINGS

LENGTHS = [40, 40, 7, 7, 7, 2, 31]
PLACES = {
    "some": [0, 1, 5, 39, 41, 80, 93, 94, 133],  # of one sequence none
    "of one sequence": [45, 46],
    "all": list(range(sum(LENGTHS))),
    "none": [],
}


def make(name: str, *, attention_dropout: float = 0.0, **given: Any) -> Model:
    chosen = family(name)
    torch.manual_seed(0)
    config = config_for(chosen, "tiny", vocab_size=1000, max_len=40, dropout=0.0, **given)
    network = chosen.build(replace(config, attention_dropout=attention_dropout), chosen.heads)
    add_classifier(network, 3)
    return network


def learnt(network: Model, batch: Batch, positions: Tensor, wanted: Wanted | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Hidden states at ``positions``, and the gradients of a sum of them with weights."""
    network.zero_grad()
    found = network(batch, wanted=wanted).at(positions)
    (found * torch.linspace(-1, 1, found.numel()).reshape(found.shape)).sum().backward()
    gradients = {key: value.grad.clone() for key, value in network.named_parameters() if value.grad is not None}
    return found.detach(), gradients


@pytest.mark.parametrize("which", PLACES)
@pytest.mark.parametrize("name", FAMILIES)
def test_they_have_the_bits_of_the_whole_and_the_same_gradients(name: str, which: str) -> None:
    network, batch, positions = make(name).train(), make_batch(LENGTHS), torch.tensor(PLACES[which], dtype=torch.int64)
    whole, slopes = learnt(network, batch, positions, None)
    some, found = learnt(network, batch, positions, Wanted(positions))
    assert len(network(batch, wanted=Wanted(positions)).hidden) == len(positions)
    assert torch.equal(some, whole) and found.keys() == slopes.keys()
    for key, value in found.items():
        assert torch.allclose(value, slopes[key], rtol=1e-4, atol=1e-6 * float(1 + slopes[key].abs().max())), key


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("how", ["measured", "inference", "bfloat16", "dropout of attention"])
def test_however_it_is_computed(name: str, how: str) -> None:
    network, batch = make(name, attention_dropout=0.2 if how == "dropout of attention" else 0.0), make_batch(LENGTHS)
    positions = torch.tensor(PLACES["some"])
    if how == "inference":
        inference.prepare(network)

    def found(wanted: Wanted | None) -> Tensor:
        torch.manual_seed(0)
        with torch.set_grad_enabled(how == "dropout of attention"), torch.autocast("cpu", enabled=how == "bfloat16"):
            return network.train(how == "dropout of attention")(batch, wanted=wanted).at(positions).detach()

    if how == "bfloat16":  # torch multiplies other numbers of rows in another order
        assert torch.allclose(found(Wanted(positions)), found(None), rtol=0.1, atol=0.1)
    else:
        assert torch.equal(found(Wanted(positions)), found(None))


@pytest.mark.parametrize("name", FAMILIES)
def test_same_bits_on_any_number_of_threads_and_with_checkpointing(name: str) -> None:
    network, batch, positions = make(name, d_model=128).train(), make_batch([40] * 50), torch.arange(3, 2000, 7)
    before, one = torch.get_num_threads(), dict[str, Tensor]()
    try:
        for threads, checkpointing in ((1, False), (2, False), (3, False), (16, False), (1, True)):
            torch.set_num_threads(threads)
            use_checkpointing(network, checkpointing)
            _, found = learnt(network, batch, positions, Wanted(positions))
            one = one or found
            assert all(torch.equal(found[key], value) for key, value in one.items()), threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sequences_vector_can_be_wanted_beside_others(name: str) -> None:
    network, batch, positions = make(name).eval(), make_batch(LENGTHS), torch.tensor(PLACES["some"])
    with torch.no_grad():
        whole = network(batch)
        for wanted in (Wanted(pooled=True), Wanted(positions, pooled=True)):
            output = network(batch, wanted=wanted)
            assert torch.equal(output.pooled, whole.pooled)
        assert torch.equal(output.at(positions), whole.at(positions))
        kept = network(batch, wanted=Wanted(positions), layers=True)
    assert len(kept.hidden) == batch.packing.total  # who looks at every block looks at every token
    assert all(len(layer) == batch.packing.total for layer in kept.layers)


def test_what_several_want() -> None:
    one, other = Wanted(torch.tensor([1, 4])), Wanted(torch.tensor([0, 4, 6]))
    assert wanted_by_all([one, None]) is None
    assert wanted_by_all([one]) == one
    both = wanted_by_all([one, other, Wanted(pooled=True)])
    assert both is not None and both.positions is not None and both.pooled
    assert both.positions.tolist() == [0, 1, 4, 6]
    assert both.tokens(torch.tensor([0, 5])).tolist() == [0, 1, 4, 5, 6]
    assert Wanted(pooled=True).tokens(torch.tensor([0, 5])).tolist() == [0, 5]


@pytest.mark.parametrize("name", [*objectives.OBJECTIVES, "mlm+nsp"])
def test_every_objective_wants_what_it_reads(name: str) -> None:
    """The loss of the whole, to the bit, from what is wanted."""
    heads = tuple(
        dict.fromkeys(
            head for part in name.split("+") for head in objectives.kind(part).build(VOCABULARY, OPTIONS).heads
        )
    )
    network = make(next(key for key in FAMILIES if set(heads) <= set(family(key).heads))).eval()
    batch, task = make_batch(LENGTHS), objectives.build(name, VOCABULARY, OPTIONS)
    labels = {"nsp": torch.arange(len(LENGTHS)) % 2}
    batch = Batch(batch.tokens, batch.packing, batch.examples, batch.special, labels=labels)
    read, target = task.corrupt(batch, Address(0, ("objective", 0)))
    with torch.no_grad():
        some = task.loss(network(read, wanted=target.wanted), target)
        whole = task.loss(network(read), target)
    assert some.keys() == whole.keys() and all(torch.equal(some[term], whole[term]) for term in some)
    assert (target.wanted is None) == (name == "clm")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_wants_what_it_reads(pooling: str) -> None:
    network, batch = make("bert").eval(), make_batch(LENGTHS)
    task = kind("classify").restore({"labels": ["a", "b", "c"], "pooling": pooling})
    with torch.no_grad():
        assert torch.equal(task.scores(network(batch, wanted=task.wanted(batch))), task.scores(network(batch)))
    assert (task.wanted(batch) is None) == (pooling in ("mean", "max"))


@pytest.mark.parametrize(("name", "left"), [("bert", 2), ("gpt2", 3)])
def test_the_others_are_not_computed(name: str, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the twelve parts of the last block's products keys and values are left, and queries where what they see
    depends on their place."""
    network, batch, done = make(name, n_layers=1).train(), make_batch([40] * 10), [0]
    forward = product.forward

    def counted(x_MD: Tensor, weight_ED: Tensor, *more: Any) -> Tensor:
        done[0] += len(x_MD) * weight_ED.numel()
        return forward(x_MD, weight_ED, *more)

    monkeypatch.setattr(product, "forward", counted)
    parts = []
    for wanted in (None, Wanted(pooled=True)):
        done[0] = 0
        network(batch, wanted=wanted)
        parts.append(done[0])
    assert parts[1] / parts[0] == pytest.approx(left / 12 + (12 - left) / 12 / 40)


def test_rows_are_put_back() -> None:
    x_ND = torch.randn(9, 3, requires_grad=True)
    positions = torch.tensor([0, 2, 8])
    found = rows(x_ND, positions)
    assert torch.equal(found, x_ND[positions])
    (slope,) = torch.autograd.grad(found, x_ND, torch.ones(3, 3))
    assert slope.sum(1).tolist() == [3, 0, 3, 0, 0, 0, 0, 0, 3]
    assert rows(x_ND, None) is x_ND
