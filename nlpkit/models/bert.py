"""BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers", section 3).

A post-norm encoder with exact GELU, epsilon 1e-12, token + position + segment embeddings; the masked-LM head is dense,
GELU, norm and the tied embedding with a bias; the pooler is tanh of a projected [CLS].

Deviations: attention probabilities have no dropout unless ``attention_dropout`` asks for it (it is several times
slower on a processor); weights start from a normal distribution with std 0.02 that is not truncated, as in Hugging
Face's implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlpkit.data.batch import Batch
from nlpkit.layers.attention import Attention, Full
from nlpkit.layers.block import PostNorm, Stack
from nlpkit.layers.embedding import Embeddings
from nlpkit.layers.feedforward import ACTIVATIONS, FeedForward
from nlpkit.layers.heads import ClassificationHead, VocabularyHead
from nlpkit.layers.linear import Linear, linear
from nlpkit.layers.norm import LayerNorm
from nlpkit.models.base import Config, Family, Model, Output


@dataclass(frozen=True, kw_only=True)
class BertConfig(Config):
    n_segments: int = 2
    activation: str = "gelu"


class Pooler(nn.Module):
    """tanh(dense([CLS]))."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model)

    def forward(self, first_BD: Tensor) -> Tensor:
        return torch.tanh(linear(first_BD, self.dense.weight, self.dense.bias))


class Transform(nn.Module):
    """norm(activation(dense(x))), before the vocabulary projection."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.d_model, config.d_model)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = LayerNorm(config.d_model, config.norm_eps)

    def forward(self, x_MD: Tensor) -> Tensor:
        out: Tensor = self.norm(self.activation(self.dense(x_MD)))
        return out


class Bert(Model):
    """See `Model` and the module's docstring."""

    family: ClassVar[str] = "bert"
    config: BertConfig

    def __init__(self, config: BertConfig, heads: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        d_model, eps = config.d_model, config.norm_eps
        self.embeddings = Embeddings(
            config.vocab_size, d_model, config.max_len, segments=config.n_segments, norm=LayerNorm(d_model, eps),
            dropout=config.dropout,
        )  # fmt: skip
        self.encoder = Stack(
            [
                PostNorm(
                    Attention(d_model, config.n_heads, dropout=config.attention_dropout),
                    FeedForward(d_model, config.d_ff, ACTIVATIONS[config.activation]),
                    attention_norm=LayerNorm(d_model, eps),
                    feedforward_norm=LayerNorm(d_model, eps),
                    dropout=config.dropout,
                )
                for _ in range(config.n_layers)
            ]
        )
        self.pooler = Pooler(d_model)
        self.heads = nn.ModuleDict()
        if "mlm" in heads:
            self.heads["mlm"] = VocabularyHead(self.embeddings.token, transform=Transform(config), bias=True)
        if "nsp" in heads:
            self.heads["nsp"] = ClassificationHead(d_model, 2)
        self.apply(_initialise)

    def forward(self, batch: Batch, *, layers: bool = False, cache: Any = None) -> Output:
        x_ND = self.embeddings(batch.tokens, batch.packing, batch.segments)
        hidden_ND, kept = self.encoder(x_ND, batch.packing, Full(), keep=layers)
        first = batch.packing.starts.to(hidden_ND.device)
        return Output(hidden_ND, batch, self.heads, lambda: self.pooler(hidden_ND.index_select(0, first)), kept)


def _initialise(module: nn.Module) -> None:
    """Normal weights with std 0.02, zero biases (Devlin et al. 2019, their code's initializer_range)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


FAMILY = Family(
    name="bert",
    title="BERT",
    paper="Devlin et al. 2019, arXiv:1810.04805",
    framing="encoder",
    objective="mlm",
    config=BertConfig,
    build=Bert,
)
