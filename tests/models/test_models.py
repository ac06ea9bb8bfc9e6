"""What every family promises; a new family is tested by standing in the table."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from golden.make_names import PATH, tensor_names
from torch import Tensor

from nlpkit.base.abilities import Ability
from nlpkit.base.errors import UserError
from nlpkit.data.batch import Batch
from nlpkit.layers.packing import Packing
from nlpkit.layers.state import Cache
from nlpkit.models import FAMILIES, family
from nlpkit.models.base import Model, Output
from nlpkit.models.load import add_classifier
from nlpkit.models.sizes import config_for

VOCAB = 100
CAUSAL = [name for name in FAMILIES if Ability.CAUSAL in family(name).offers]


def make(name: str, seed: int = 0, dropout: float = 0.1) -> Model:
    chosen = family(name)
    torch.manual_seed(seed)
    network = chosen.build(config_for(chosen, "tiny", vocab_size=VOCAB, max_len=40, dropout=dropout), chosen.heads)
    add_classifier(network, 5)
    return network


def batch(name: str, *lengths: int) -> Batch:
    chosen = family(name)
    return chosen.example(config_for(chosen, "tiny", vocab_size=VOCAB, max_len=40, dropout=0.0), lengths)


def loss(output: Output) -> Tensor:
    """The sum of what every head loses."""
    total = output.hidden.new_zeros(())
    for head in output.heads.values():
        if hasattr(head, "token_losses"):
            total = total + head.loss(output.hidden, output.batch.tokens)
        else:
            total = total + head.loss(output.pooled, torch.arange(len(output.batch.packing.lengths)) % 2)
    return total


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = make(name)
    loss(network(batch(name, 40, 40, 7, 2))).backward()
    assert [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_tensor_names_are_frozen() -> None:
    """They are a contract with every file ever written; tests/golden/make_names.py writes them anew."""
    assert tensor_names() == json.loads(PATH.read_text("utf-8"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sequence_has_the_same_bits_alone_and_in_company(name: str) -> None:
    network, company = make(name).eval(), batch(name, 11, 40, 3, 3, 17, 40, 2, 5)
    with torch.no_grad():
        output = network(company)
        hidden, pooled = output.hidden, output.pooled
        logits = network.heads["classify"](pooled)
        for number, (start, length) in enumerate(
            zip(company.packing.starts.tolist(), company.packing.lengths, strict=True)
        ):
            part = slice(start, start + length)
            alone = Batch(
                company.tokens[part],
                Packing.of([length]),
                torch.tensor([0]),
                company.special[part],
                None if company.segments is None else company.segments[part],
            )
            found = network(alone)
            assert torch.equal(found.hidden, hidden[part])
            assert torch.equal(found.pooled[0], pooled[number])
            assert torch.equal(network.heads["classify"](found.pooled)[0], logits[number])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lengths", [(40, 31, 31, 9, 6, 5, 2), (7,), (1,), (5,) * 7])
def test_gradients_have_the_same_bits_on_any_number_of_threads(name: str, lengths: tuple[int, ...]) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            network = make(name, dropout=0.2).train()
            torch.manual_seed(3)
            value = loss(network(batch(name, *lengths)))
            value.backward()
            found.append({"loss": value.detach(), **{key: item.grad for key, item in network.named_parameters()}})
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert [key for key, value in found[0].items() if not torch.equal(value, other[key])] == []


@pytest.mark.parametrize("name", CAUSAL)
def test_the_past_does_not_see_the_future(name: str) -> None:
    network, given = make(name).eval(), batch(name, 30)
    with torch.no_grad():
        hidden = network(given).hidden
        for place in (0, 1, 13, 28):
            changed = given.tokens.clone()
            changed[place + 1] = (changed[place + 1] + 1) % VOCAB
            found = network(given.with_tokens(changed)).hidden
            assert torch.equal(found[: place + 1], hidden[: place + 1])
            assert not torch.equal(found[place + 1], hidden[place + 1])


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in CAUSAL])
def test_an_encoder_sees_both_sides(name: str) -> None:
    network, given = make(name).eval(), batch(name, 30)
    with torch.no_grad():
        hidden = network(given).hidden
        changed = given.tokens.clone()
        changed[15] = (changed[15] + 1) % VOCAB
        found = network(given.with_tokens(changed)).hidden
    assert not torch.equal(found[0], hidden[0]) and not torch.equal(found[29], hidden[29])


@pytest.mark.parametrize("name", CAUSAL)
def test_cached_equals_uncached(name: str) -> None:
    network, given = make(name).eval(), batch(name, 20)
    with torch.no_grad():
        expected, cache, found = network(given).hidden, Cache(), []
        for start, end in ((0, 7), (7, 8), (8, 9), (9, 15), (15, 20)):
            part = Batch(given.tokens[start:end], Packing.of([end - start]), given.examples, given.special[start:end])
            found.append(network(part, state=cache).hidden)
    assert cache.lengths == (20,)
    assert torch.allclose(torch.cat(found), expected, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_callers_seed_is_all_that_weights_depend_on(name: str) -> None:
    one, same, other = make(name, 1).state_dict(), make(name, 1).state_dict(), make(name, 2).state_dict()
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert not torch.equal(one["embeddings.token.weight"], other["embeddings.token.weight"])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_copy_keeps_its_own_ties(name: str) -> None:
    network = make(name)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.embeddings.token.weight.zero_()
    for head in twin.heads.values():
        if hasattr(head, "token_losses"):
            assert not head.weight.any()
    assert network.embeddings.token.weight.any()
    assert len({id(value) for value in network.parameters()}) == len(network.state_dict())


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_are_kept_when_asked_for(name: str) -> None:
    network = make(name).eval()
    assert network(batch(name, 5)).layers == ()
    output = network(batch(name, 5), layers=True)
    assert [layer.shape for layer in output.layers] == [(5, 128)] * 3


@pytest.mark.parametrize("name", FAMILIES)
def test_too_long_a_sequence_is_said(name: str) -> None:
    with pytest.raises(UserError, match="41 tokens; the model reads at most 40"):
        make(name)(batch(name, 41))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("d_model", 0, "positive int"),
        ("d_model", "16", "positive int"),
        ("n_heads", 5, "divided by 5 heads"),
        ("dropout", None, "a number"),
        ("activation", "gelo", 'did you mean "gelu"'),
    ],
)
def test_a_wrong_config_is_said(field: str, value: object, said: str) -> None:
    chosen = family("bert")
    shape = {"vocab_size": 10, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "max_len": 8, field: value}
    with pytest.raises(UserError, match=said):
        chosen.build(chosen.config(**shape), ())
