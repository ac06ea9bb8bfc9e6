"""A model in inference: each brick replaced by its inference module (`nlpkit.layers.brick`), which runs the kernels of
nlpkit/kernels/inference.py, and each linear layer by `Product`.

Promise: a token's outputs have the same bits whatever else is in the batch, on any number of threads, and whether the
tokens before it were read with it or earlier. It holds for bricks as they are; a subclass that is not replaced runs its
own forward, whose results may differ in the last bits of a float32.

Shapes: M rows, D, E widths, P columns of panels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nlpkit.kernels import inference
from nlpkit.kernels.shapes import PANEL
from nlpkit.layers.brick import MakeProduct, for_inference


class Product(nn.Module):
    """x weight^T + bias for weights [E, D], which it stores packed in panels."""

    panels: Tensor
    bias: Tensor

    def __init__(self, weight_ED: Tensor, bias_E: Tensor | None) -> None:
        super().__init__()
        self.columns = len(weight_ED)
        self.register_buffer("panels", inference.panels(weight_ED))
        bias_P = self.panels.new_zeros(len(self.panels) * PANEL)
        if bias_E is not None:
            bias_P[: self.columns] = bias_E.detach()
        self.register_buffer("bias", bias_P)

    def forward(self, x_MD: Tensor) -> Tensor:
        """[M, E]."""
        out_MP = inference.product(x_MD, self.panels, self.bias)
        return out_MP if out_MP.shape[1] == self.columns else out_MP[:, : self.columns]


@torch.no_grad()
def prepare(model: nn.Module, product: MakeProduct = Product) -> nn.Module:
    """Replace a model's bricks in place by their inference modules (`nlpkit.layers.brick`); linear layers become
    ``product``. Embeddings, poolers and classifiers stay as they are: they are small."""
    return for_inference(model, product)
