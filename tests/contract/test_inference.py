"""A model in inference has the model's own numbers: every family, and bricks that a family made its own.

A brick that computes something else than its class (heads that are rotated, weights with an adapter) is computed as it
says or runs its own forward; nothing of it is lost without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from making import make_batch
from torch import Tensor, nn

from nlpkit.exchange.opening import load
from nlpkit.layers import inference, int8
from nlpkit.layers.attention import Attend, Attention
from nlpkit.layers.block import PostNorm, Stack
from nlpkit.layers.feedforward import FeedForward, gelu, gelu_tanh
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.packing import Packing, Run
from nlpkit.layers.view import View
from nlpkit.models import FAMILIES
from nlpkit.models.load import add_classifier

WIDTH, HEADS, LENGTHS = 32, 2, [7, 7, 1, 20]
PACKING = Packing.of(LENGTHS)
WHOLE = View.of(PACKING)


class Rotary(Attention):
    """Heads turned by their position, as Su et al. 2021 do: the part that a fused kernel knows nothing of."""

    def _heads(self, x_NX: Tensor, run: Run, heads: int) -> Tensor:
        x_BHTD = super()._heads(x_NX, run, heads)
        half = x_BHTD.shape[-1] // 2
        angle_TD = torch.arange(run.length)[:, None] / 10.0 ** torch.arange(half)
        left, right = x_BHTD[..., :half], x_BHTD[..., half:]
        sin, cos = angle_TD.sin(), angle_TD.cos()
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Doubled(Attention):
    """One that overrides its forward."""

    def forward(self, *args: Any, **named: Any) -> Tensor:
        return 2 * super().forward(*args, **named)


class LowRank(Linear):
    """W + B A (Hu et al. 2022), by `used`."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__(d_in, d_out, bias)
        self.left, self.right = nn.Parameter(torch.randn(d_out, 2) / 4), nn.Parameter(torch.randn(2, d_in) / 4)

    def used(self) -> Tensor:
        return self.weight + self.left @ self.right


class Pruned(Linear):
    """W * mask, by `used`."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__(d_in, d_out, bias)
        self.register_buffer("mask", (torch.rand(d_out, d_in) < 0.5).float())

    def used(self) -> Tensor:
        mask: Any = self.mask
        return self.weight * mask


class Beside(LowRank):
    """The same adapter by a forward of its own."""

    used = Linear.used

    def forward(self, x_MD: Tensor) -> Tensor:
        return super().forward(x_MD) + x_MD @ self.right.T @ self.left.T


def reads(block: nn.Module, change: Callable[[Linear], Linear]) -> None:
    """Let every linear layer of a block be of another class."""
    for module in list(block.modules()):
        for name, part in list(module.named_children()):
            if type(part) is Linear:
                setattr(module, name, change(part))


def block(attention: type[Attention] = Attention, *, bias: bool = True, linear: type[Linear] | None = None) -> PostNorm:
    torch.manual_seed(0)
    made = PostNorm(
        attention(WIDTH, HEADS, bias=bias),
        FeedForward(WIDTH, 2 * WIDTH, gelu, bias=bias),
        dropout=0.0,
        attention_norm=LayerNorm(WIDTH, 1e-5),
        feedforward_norm=LayerNorm(WIDTH, 1e-5),
    )
    if linear is not None:
        reads(made, lambda part: linear(part.in_features, part.out_features, part.bias is not None))
    return made


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "as it is": block,
    "rotated heads": lambda: block(Rotary),
    "own forward": lambda: block(Doubled),
    "no biases": lambda: block(bias=False),
    "adapters": lambda: block(linear=LowRank),
    "adapters without biases": lambda: block(linear=LowRank, bias=False),
    "adapters beside": lambda: block(linear=Beside),
    "masks": lambda: block(linear=Pruned),
    "a hook": lambda: hooked(block()),
}


def hooked(made: PostNorm) -> PostNorm:
    made.attention.register_forward_hook(lambda module, given, out: out + 1)
    made.feedforward.up.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    return made


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_in_inference_has_its_own_numbers(name: str, causal: bool) -> None:
    stack = Stack([BLOCKS[name]()]).eval()
    plain, x_ND = copy.deepcopy(stack), torch.randn(PACKING.total, WIDTH)
    view = View.of(PACKING, causal=causal)
    learning = plain(x_ND.requires_grad_(), view)[0].detach()  # by the kernels of training
    with torch.inference_mode():
        own = plain(x_ND, view)[0]
        inference.prepare(stack)
        found = stack(x_ND, view)[0]
    assert torch.allclose(found, own, atol=3e-6) and torch.allclose(learning, own, atol=3e-6)


def test_what_is_left_out_would_be_seen() -> None:
    """The parts of these bricks change their blocks' numbers by far more than the tolerance."""
    x_ND = torch.randn(PACKING.total, WIDTH)
    with torch.inference_mode():
        for name in ("rotated heads", "own forward", "adapters", "masks", "a hook"):
            whole, bare = BLOCKS[name](), block()
            state = whole.state_dict()
            bare.load_state_dict({key: state[key] for key in bare.state_dict()})
            assert (whole(x_ND, WHOLE) - bare(x_ND, WHOLE)).abs().max() > 0.05, name


@pytest.mark.parametrize("name", ["no biases", "adapters", "masks"])
def test_bricks_that_say_what_they_multiply_with_are_as_fast_as_others(name: str) -> None:
    """They are replaced, and so are their products of 8 bits."""
    for product in (inference.Product, int8.Product):
        made = BLOCKS[name]().eval()
        inference.prepare(made, product)
        kinds = [type(part) for part in made.modules()]
        assert Attend in kinds and kinds.count(product) == 4


@pytest.mark.parametrize("activation", [gelu, gelu_tanh])
@pytest.mark.parametrize("kind", [LowRank, Pruned])
@pytest.mark.parametrize("bias", [True, False])
def test_fused_layers_multiply_with_what_is_used(activation: Any, kind: type[Linear], bias: bool) -> None:
    """The feed-forward layer and the vocabulary head: values and gradients as autograd's in double precision."""
    torch.manual_seed(0)
    layer = FeedForward(WIDTH, 64, activation, bias=bias)
    reads(layer, lambda part: kind(part.in_features, part.out_features, bias))
    output = kind(WIDTH, 100)
    head, labels = VocabularyHead(output, bias=True), torch.arange(PACKING.total) % 100
    x_ND = torch.randn(PACKING.total, WIDTH, requires_grad=True)
    wide = copy.deepcopy(nn.ModuleList([layer, output])).double()
    head.loss(layer(x_ND), labels).backward()
    y_ND: Any = x_ND.detach().double().requires_grad_()
    up, down = wide[0].up, wide[0].down
    approximate = "tanh" if activation is gelu_tanh else "none"
    inner = nn.functional.gelu(nn.functional.linear(y_ND, up.used(), up.bias), approximate=approximate)
    hidden = nn.functional.linear(inner, down.used(), down.bias)
    logits = hidden @ wide[1].used().T
    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    for own, expected in [
        (x_ND, y_ND),
        *zip([*layer.parameters(), *output.parameters()], wide.parameters(), strict=True),
    ]:
        if expected.grad is not None:
            assert (own.grad.double() - expected.grad).abs().max() < 1e-5 * expected.grad.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("product", [inference.Product, int8.Product])
def test_every_family_has_its_own_numbers_in_inference(name: str, product: Any, tmp_path: Path) -> None:
    """Hidden states of every layer, pooled vectors and the logits of every head; nearly, where products have 8 bits."""
    model = load(toys.model(tmp_path / "m.safetensors", name, max_len=48)).model
    add_classifier(model, 3)
    model.eval()
    batch = make_batch([7, 7, 20, 1, 40])
    batch = batch.with_tokens(batch.tokens % model.config.vocab_size)
    plain = copy.deepcopy(model)
    with torch.inference_mode():
        inference.prepare(model, product)
        own, found = plain(batch, layers=True), model(batch, layers=True)
        pairs = [(own.hidden, found.hidden), (own.pooled, found.pooled), *zip(own.layers, found.layers, strict=True)]
        for head in plain.heads:
            given = [out.pooled if head == "classify" else out.hidden for out in (own, found)]
            pairs.append((plain.heads[head](given[0]), model.heads[head](given[1])))
    for expected, value in pairs:
        assert torch.allclose(value, expected, atol=3e-6 if product is inference.Product else 0.1)
