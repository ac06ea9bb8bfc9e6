"""Linear layers whose products are of 8-bit whole numbers, for answering only (Dettmers et al. 2022, section 2.1).

Each row of a weight has a scale of its own, and so has each token's vector, which is rounded when it comes: x w =
(scale of x) (scale of w) (sum of whole numbers). The sum is exact, so a token's numbers depend on nothing but the
token: not on threads, and not on what else is in the batch. Embeddings, norms, attention, poolers and classifiers stay
as they are.

Shapes: M rows, D and E widths, V vocabulary.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from nlpkit.layers import fused
from nlpkit.layers.cross_entropy import CHUNK, chunk_losses
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.linear import Linear


@cache
def levels() -> int:
    """The largest whole number of a weight. Processors without instructions for 8-bit products add two of them in 16
    bits, where more than 63 would be cut off."""
    left = torch.tensor([[127], [-127]], dtype=torch.int8).expand(2, 64).contiguous()
    right = torch.full((64, 16), 127, dtype=torch.int8)
    exact = left.long() @ right.long()
    return 127 if torch.equal(torch._int_mm(left, right).long(), exact) else 63


class Product(nn.Module):
    """x weight^T + bias for weights [E, D] that were rounded once."""

    whole: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight_ED: Tensor, bias_E: Tensor | None) -> None:
        super().__init__()
        most_E1 = weight_ED.detach().abs().amax(1, keepdim=True)
        scale_E1 = torch.where(most_E1 > 0, most_E1 / levels(), 1.0)
        self.register_buffer("whole", (weight_ED.detach() / scale_E1).round().to(torch.int8))
        self.register_buffer("scale", scale_E1[:, 0].contiguous())
        self.register_buffer("bias", None if bias_E is None else bias_E.detach().clone())

    def forward(self, x_MD: Tensor) -> Tensor:
        """[M, E]."""
        x_MD = x_MD.contiguous()
        whole_MD, scale_M = fused.rounded(x_MD) if fused.usable(x_MD) else _rounded(x_MD)
        sums_ME = torch._int_mm(whole_MD, self.whole.T)
        return fused.scaled(sums_ME, scale_M, self.scale, self.bias)


def _rounded(x_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127 and the scale of each row."""
    most_M1 = x_MD.abs().amax(1, keepdim=True)
    scale_M1 = torch.where(most_M1 > 0, most_M1 / 127, 1.0)
    return (x_MD / scale_M1).round().to(torch.int8), scale_M1[:, 0].contiguous()


class Vocabulary(nn.Module):
    """A `VocabularyHead` that only answers."""

    def __init__(self, head: VocabularyHead) -> None:
        super().__init__()
        self.transform = head.transform
        self.product = Product(head.weight, head.bias)

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits [M, V]."""
        return cast(Tensor, self.product(hidden_MD if self.transform is None else self.transform(hidden_MD)))

    def token_losses(self, hidden_MD: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        """As `VocabularyHead.token_losses`."""
        return chunk_losses(self, hidden_MD, target_M, CHUNK)


def quantise(model: nn.Module) -> None:
    """Replace the linear layers of a model's blocks, and its vocabulary heads with theirs, in place."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, VocabularyHead):
                module._modules[name] = Vocabulary(part)
    for place, module in list(model.named_modules()):
        if ".layers." in place or ".transform" in place:  # a pooler's is small
            for name, part in list(module.named_children()):
                if isinstance(part, Linear):
                    module._modules[name] = Product(part.weight, part.bias)
