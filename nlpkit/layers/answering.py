"""A model in inference: its bricks replaced by what they say computes them (`nlpkit.layers.brick`), with the kernels of
nlpkit/kernels/answer.py, and its linear layers by `Product`.

Promise: a token's numbers have the same bits whatever else is in the batch, on any number of threads, and whether the
tokens before it were read with it or earlier. It holds for bricks as they are; a subclass that is not replaced
computes what it says, to the last bits of a 32-bit float.

Shapes: M rows, D, E widths, P columns of panels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nlpkit.kernels import answer
from nlpkit.kernels.shapes import PANEL
from nlpkit.layers.brick import MakeProduct, for_inference


class Product(nn.Module):
    """x weight^T + bias for weights [E, D], which it keeps in panels."""

    panels: Tensor
    bias: Tensor

    def __init__(self, weight_ED: Tensor, bias_E: Tensor | None) -> None:
        super().__init__()
        self.columns = len(weight_ED)
        self.register_buffer("panels", answer.panels(weight_ED))
        bias_P = self.panels.new_zeros(len(self.panels) * PANEL)
        if bias_E is not None:
            bias_P[: self.columns] = bias_E.detach()
        self.register_buffer("bias", bias_P)

    def forward(self, x_MD: Tensor) -> Tensor:
        """[M, E]."""
        out_MP = answer.product(x_MD, self.panels, self.bias)
        return out_MP if out_MP.shape[1] == self.columns else out_MP[:, : self.columns]


@torch.no_grad()
def prepare(model: nn.Module, product: MakeProduct = Product) -> nn.Module:
    """The model for inference, its bricks replaced in place by what they say (`nlpkit.layers.brick`); linear layers
    become ``product``. Embeddings, poolers and classifiers stay as they are: they are small."""
    return for_inference(model, product)
