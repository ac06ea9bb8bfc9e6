"""Heads on top of a model: vocabulary heads, sentence heads, classifiers.

Every trainable head has ``loss(input, target)``: the SUM of its losses. Shapes: M targets, B sequences, D width, V
vocabulary, K classes.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from nlpkit.layers.brick import Brick, MakeProduct, for_inference
from nlpkit.layers.cross_entropy import CHUNK, chunk_losses, cross_entropy_sum, linear_cross_entropy, token_losses
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.linear import Linear, linear


class VocabularyHead(Brick):
    """Scores every piece of the vocabulary, with the token embedding as output weights (Press and Wolf 2017).

    ``transform`` comes before the projection (BERT: dense, activation, norm); ``bias`` [V] or None. The embedding is
    the model's: it is not this head's parameter and appears in files once, under the embedding's name.
    """

    seams: ClassVar[frozenset[str]] = frozenset({"weight"})

    def __init__(
        self, embedding: nn.Embedding | Linear, *, transform: nn.Module | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        self.transform = transform
        self.bias = nn.Parameter(torch.zeros(len(embedding.weight))) if bias else None
        self._tied = [embedding]  # in a list, so that torch does not register it a second time

    def prepare(self, hidden_MD: Tensor) -> Tensor:
        """The input of the projection."""
        return hidden_MD if self.transform is None else self.transform(hidden_MD)

    @property
    def weight(self) -> Tensor:
        """[V, D]: the token embedding, or the effective weight of a linear layer in its stead."""
        tied = self._tied[0]
        return tied.used() if isinstance(tied, Linear) else tied.weight

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits [M, V]."""
        return linear(self.prepare(hidden_MD), self.weight, self.bias)

    def loss(self, hidden_MD: Tensor, target_M: Tensor) -> Tensor:
        """SUM of the losses; the logits are never all in memory."""
        return linear_cross_entropy(self.prepare(hidden_MD), self.weight, self.bias, target_M)

    def token_losses(self, hidden_MD: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        """Each target's loss, and whether it was the most likely piece; without gradients."""
        with torch.no_grad():
            return token_losses(self.prepare(hidden_MD), self.weight, self.bias, target_M)

    def inference(self, product: MakeProduct) -> nn.Module:
        return Vocabulary(self, product)


class Vocabulary(nn.Module):
    """A `VocabularyHead` in inference. Its product is built at the first use, because embedding texts needs none."""

    def __init__(self, head: VocabularyHead, product: MakeProduct) -> None:
        super().__init__()
        self.transform = None if head.transform is None else for_inference(head.transform, product)
        self._head, self._make = [head], product  # in a list, so that torch does not register it

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits [M, V]."""
        if "product" not in self._modules:
            self.product = self._make(self._head[0].weight, self._head[0].bias)
        return cast(Tensor, self.product(hidden_MD if self.transform is None else self.transform(hidden_MD)))

    def token_losses(self, hidden_MD: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        """As `VocabularyHead.token_losses`."""
        return chunk_losses(self, hidden_MD, target_M, CHUNK)


class ClassificationHead(nn.Module):
    """dropout, then one linear layer over one vector for each sequence: ``weight`` [K, D], ``bias`` [K] or None."""

    def __init__(self, d_model: int, n_labels: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(n_labels, d_model).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(n_labels)) if bias else None

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Logits [B, K]."""
        return linear(self.dropout(pooled_BD), self.weight, self.bias)

    def loss(self, pooled_BD: Tensor, target_B: Tensor) -> Tensor:
        """SUM of the losses."""
        return cross_entropy_sum(self(pooled_BD), target_B)
