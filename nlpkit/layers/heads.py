"""What stands on a model: vocabulary heads, sentence heads, classifiers.

Every head that learns has ``loss(input, target)``: the SUM of its losses. Shapes: M answers, B sequences, D width, V
vocabulary, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nlpkit.layers.cross_entropy import cross_entropy_sum, linear_cross_entropy, token_losses
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.linear import linear


class VocabularyHead(nn.Module):
    """Scores every piece of the vocabulary, with the token embedding as output weights (Press and Wolf 2017).

    ``transform`` comes before the projection (BERT: dense, activation, norm); ``bias`` [V] or None. The embedding is
    the model's: it is not this head's parameter and appears in files once, under the embedding's name.
    """

    def __init__(self, embedding: nn.Embedding, *, transform: nn.Module | None = None, bias: bool = False) -> None:
        super().__init__()
        self.transform = transform
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings)) if bias else None
        self._tied = [embedding]  # in a list, so that torch does not register it a second time

    def prepare(self, hidden_MD: Tensor) -> Tensor:
        """Hidden states as the projection wants them."""
        return hidden_MD if self.transform is None else self.transform(hidden_MD)

    @property
    def weight(self) -> Tensor:
        """[V, D]: the token embedding."""
        return self._tied[0].weight

    def forward(self, hidden_MD: Tensor) -> Tensor:
        """Logits [M, V]."""
        return linear(self.prepare(hidden_MD), self.weight, self.bias)

    def loss(self, hidden_MD: Tensor, target_M: Tensor) -> Tensor:
        """SUM of the losses; the logits are never all in memory."""
        return linear_cross_entropy(self.prepare(hidden_MD), self.weight, self.bias, target_M)

    def token_losses(self, hidden_MD: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        """Each answer's loss, and whether it was the most likely piece; without gradients."""
        with torch.no_grad():
            return token_losses(self.prepare(hidden_MD), self.weight, self.bias, target_M)


class ClassificationHead(nn.Module):
    """dropout, then one linear layer over a vector a sequence: ``weight`` [K, D], ``bias`` [K] unless without."""

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
