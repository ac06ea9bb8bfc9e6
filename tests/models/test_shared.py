"""A block that computes several layers, and a tensor that two modules share, are one set of tensors everywhere."""

from __future__ import annotations

import copy
from pathlib import Path

import families
import numpy as np
import pytest
import torch
from making import make_batch, token_file
from shared_family import Shared
from torch import Tensor, nn

import nlpkit
from nlpkit.artifact import file
from nlpkit.exchange.opening import load
from nlpkit.layers import inference
from nlpkit.layers.block import Stack, use_checkpointing
from nlpkit.layers.state import Cache
from nlpkit.models.base import Config
from nlpkit.models.load import load_tensors, own_tensors, state_tensors

CONFIG = Config(vocab_size=1000, d_model=32, n_layers=4, n_heads=2, d_ff=64, max_len=64, dropout=0.0)
BATCH = make_batch([7, 20, 20, 33])


def made(cls: type[Shared] = Shared) -> Shared:
    torch.manual_seed(0)
    return cls(CONFIG, ("clm",))


def loss(model: nn.Module) -> Tensor:
    found: Tensor = model.heads["clm"].loss(model(BATCH).hidden, BATCH.tokens)
    return found


def test_gradients_of_all_its_layers_add() -> None:
    """Against a stack of copies, one a layer; with checkpointing the same bits."""
    model = made()
    apart = copy.deepcopy(model)
    apart.decoder = Stack(
        [copy.deepcopy(model.decoder.layers[which]) for which in model.decoder.order], copy.deepcopy(model.decoder.norm)
    )
    assert model.decoder.order == (0, 0, 0, 1) and len(own_tensors(apart)) == len(own_tensors(model)) + 20
    for network in (model, apart):
        loss(network).backward()
    for which in (0, 1):
        for name, value in model.decoder.layers[which].named_parameters():
            parts = [
                apart.decoder.layers[layer].get_parameter(name).grad
                for layer, used in enumerate(model.decoder.order)
                if used == which
            ]
            assert torch.allclose(value.grad, torch.stack(parts).sum(0), rtol=1e-4, atol=1e-4)
    grads = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    use_checkpointing(model, True)
    loss(model).backward()
    assert all(torch.equal(value.grad, grads[name]) for name, value in model.named_parameters())


def test_a_cache_goes_by_the_layer() -> None:
    model, batch = made().eval(), make_batch([30])
    inference.prepare(model)
    with torch.inference_mode():
        whole, cache = model(batch).hidden, Cache()
        parts = [model(make_batch([1]).with_tokens(token[None]), state=cache).hidden for token in batch.tokens]
    assert torch.equal(torch.cat(parts), whole) and len(cache.layers) == CONFIG.n_layers


def test_an_order_uses_every_block() -> None:
    for order in ((0, 0), (0, 2), ()):
        with pytest.raises(ValueError, match="does not use each of 2 blocks"):
            Stack(list(made().decoder.layers), order=order)


class Tied(Shared):
    """Its second block's feed-forward layer is the first's, under a second name."""

    def __init__(self, config: Config, heads: tuple[str, ...] = ()) -> None:
        super().__init__(config, heads)
        self.decoder.layers[1].feedforward.up.weight = self.decoder.layers[0].feedforward.up.weight


def test_a_tensor_under_two_names_is_in_the_file_once_and_shared_again() -> None:
    model, other = made(Tied), made(Tied)
    tensors = state_tensors(model)
    first, second = (f"decoder.layers.{number}.feedforward.up.weight" for number in (0, 1))
    assert first in tensors and second not in tensors and len(tensors) == len(list(model.parameters()))
    load_tensors(other, {name: value + 1 for name, value in tensors.items()})
    blocks = other.decoder.layers
    assert blocks[0].feedforward.up.weight is blocks[1].feedforward.up.weight
    assert np.array_equal(blocks[1].feedforward.up.weight.detach().numpy(), tensors[first] + 1)


def test_stages_agree_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, resumed from nothing and planned, distilled: each file has every tensor once."""
    families.add(monkeypatch, tmp_path)
    tokens, target = token_file(tmp_path / "tokens.safetensors"), tmp_path / "shared.safetensors"
    options = {"model": "shared", "n_layers": 4, "d_model": 32, "n_heads": 2, "max_len": 32, "batch_tokens": 256}
    planned = nlpkit.pretrain([tokens], target, steps=3, dry_run=True, **options)
    first = nlpkit.pretrain([tokens], target, steps=3, threads=1, **options)
    again = nlpkit.pretrain([tokens], tmp_path / "two.safetensors", steps=3, threads=2, checkpointing=True, **options)
    artifact = file.read(target)
    numbers = sum(artifact.array(name).size for name in artifact.tensors)
    assert first["sha256"] == again["sha256"] and numbers == first["parameters"] == planned["parameters"]
    assert {name.split(".")[2] for name in artifact.tensors if ".layers." in name} == {"0", "1"}
    student = tmp_path / "student.safetensors"
    nlpkit.distill(target, tokens, student, n_layers=3, steps=0)
    theirs, ours = load(target).model, load(student).model
    assert ours.decoder.order == (0, 0, 1)
    for which in (0, 1):
        for name, value in ours.decoder.layers[which].named_parameters():
            assert torch.equal(value, theirs.decoder.layers[which].get_parameter(name))
