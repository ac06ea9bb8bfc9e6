"""BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers", section 3).

A post-norm encoder with exact GELU, epsilon 1e-12, token + position + segment embeddings; the masked-LM head is dense,
GELU, norm and the tied embedding with a bias; the pooler is tanh of a projected [CLS].

Deviations: attention probabilities have no dropout unless ``attention_dropout`` is set (it is several times slower on a
CPU); weights start from a normal distribution with std 0.02 that is not truncated, as in Hugging Face's implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlpkit.base.abilities import Ability
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.framing import ENCODER
from nlpkit.layers.attention import Attention
from nlpkit.layers.block import PostNorm, Stack
from nlpkit.layers.brick import Brick, MakeProduct, replace_parts
from nlpkit.layers.embedding import Embeddings
from nlpkit.layers.feedforward import FeedForward, activation, overwriting
from nlpkit.layers.heads import ClassificationHead, VocabularyHead
from nlpkit.layers.linear import Linear
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.view import View
from nlpkit.models.base import Config, Family, Model, Output, or_none
from nlpkit.models.names import HuggingFace, Name, both, one


@dataclass(frozen=True, kw_only=True)
class BertConfig(Config):
    """``pooler`` False: an imported model without one; ``n_segments`` 0: one whose type vocabulary is empty."""

    n_segments: int = or_none(2)
    activation: str = "gelu"
    pooler: bool = True


class Pooler(Brick):
    """tanh(dense([CLS]))."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model)

    def forward(self, first_BD: Tensor) -> Tensor:
        return torch.tanh(self.dense(first_BD))

    def inference(self, product: MakeProduct) -> nn.Module:
        return self  # one row for each sequence: packing the weight would cost more than it saves


class Transform(Brick):
    """norm(activation(dense(x))), before the vocabulary projection."""

    def __init__(self, config: BertConfig, name: str) -> None:
        super().__init__()
        self.dense = Linear(config.d_model, config.d_model)
        self.activation = activation(name)
        self.norm = LayerNorm(config.d_model, config.norm_eps)

    def forward(self, x_MD: Tensor) -> Tensor:
        out: Tensor = self.norm(self.activation(self.dense(x_MD)))
        return out

    def inference(self, product: MakeProduct) -> nn.Module:
        dense = self.dense
        replace_parts(self, product)
        if self.dense is not dense:  # only the activation reads the product's output
            self.activation = overwriting(self.activation)
        return self


class Bert(Model):
    """See `Model` and the module's docstring."""

    family: ClassVar[str] = "bert"
    head_activation: ClassVar[str | None] = None  # of the masked-LM head; None: the config's
    config: BertConfig

    def __init__(self, config: BertConfig, heads: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        d_model, eps = config.d_model, config.norm_eps
        self.embeddings = Embeddings(
            config.vocab_size,
            d_model,
            config.max_len,
            segments=config.n_segments,
            norm=LayerNorm(d_model, eps),
            dropout=config.dropout,
        )
        self.encoder = Stack(
            [
                PostNorm(
                    Attention(d_model, config.n_heads, dropout=config.attention_dropout),
                    FeedForward(d_model, config.d_ff, activation(config.activation)),
                    attention_norm=LayerNorm(d_model, eps),
                    feedforward_norm=LayerNorm(d_model, eps),
                    dropout=config.dropout,
                )
                for _ in range(config.n_layers)
            ]
        )
        self.pooler = Pooler(d_model) if config.pooler else None
        self.heads = nn.ModuleDict()
        if "mlm" in heads:
            self.heads["mlm"] = VocabularyHead(
                self.embeddings.token, transform=Transform(config, self.head_activation or config.activation), bias=True
            )
        if "nsp" in heads:
            self.heads["nsp"] = ClassificationHead(d_model, 2)
        self.apply(_initialise)

    @property
    def pools(self) -> bool:
        return self.pooler is not None

    def forward(self, batch: Batch, *, layers: bool = False, state: Any = None, wanted: Wanted | None = None) -> Output:
        view = View.of(batch.packing)
        x_ND = self.embeddings(batch.tokens, view, batch.segments)
        positions = self.wanted_positions(None if layers else wanted, batch)
        hidden, outputs = self.encoder(x_ND, view, keep=layers, wanted=positions)
        return Output(hidden, batch, self.heads, self._pool, outputs, positions)

    def _pool(self, output: Output) -> Tensor:
        assert self.pooler is not None, "nlpkit.tasks.pooling.check_pooler refuses it before the work"
        pooled_BD: Tensor = self.pooler(output.at(self.pooled_positions(output.batch)))
        return pooled_BD


def _initialise(module: nn.Module) -> None:
    """Normal weights with std 0.02, zero biases (Devlin et al. 2019, their code's initializer_range)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def encoder_names(prefix: str) -> tuple[Name, ...]:
    """The entries of embeddings and layers, whose tensors begin with ``prefix`` in files of theirs."""
    layer, theirs = "encoder.layers.{}", f"{prefix}encoder.layer.{{}}"
    return (
        one("embeddings.token.weight", f"{prefix}embeddings.word_embeddings.weight"),
        one("embeddings.position.weight", f"{prefix}embeddings.position_embeddings.weight"),
        one("embeddings.segment.weight", f"{prefix}embeddings.token_type_embeddings.weight"),
        *both("embeddings.norm", f"{prefix}embeddings.LayerNorm"),
        *both(f"{layer}.attention.query", f"{theirs}.attention.self.query"),
        *both(f"{layer}.attention.key", f"{theirs}.attention.self.key"),
        *both(f"{layer}.attention.value", f"{theirs}.attention.self.value"),
        *both(f"{layer}.attention.output", f"{theirs}.attention.output.dense"),
        *both(f"{layer}.attention_norm", f"{theirs}.attention.output.LayerNorm"),
        *both(f"{layer}.feedforward.up", f"{theirs}.intermediate.dense"),
        *both(f"{layer}.feedforward.down", f"{theirs}.output.dense"),
        *both(f"{layer}.feedforward_norm", f"{theirs}.output.LayerNorm"),
        *both("pooler.dense", f"{prefix}pooler.dense"),
    )


HUGGINGFACE = HuggingFace(
    model_type="bert",
    prefix="bert.",
    names=(
        *encoder_names("bert."),
        one("heads.mlm.bias", "cls.predictions.bias"),
        *both("heads.mlm.transform.dense", "cls.predictions.transform.dense"),
        *both("heads.mlm.transform.norm", "cls.predictions.transform.LayerNorm"),
        *both("heads.nsp", "cls.seq_relationship"),
        *both("heads.classify", "classifier"),
    ),
    architectures={
        "BertForPreTraining": ("mlm", "nsp"),
        "BertForMaskedLM": ("mlm",),
        "BertForNextSentencePrediction": ("nsp",),
        "BertForSequenceClassification": ("classify",),
        "BertModel": (),
    },
    pooling={"pooler": None, "cls": "identity-pooler", "mean": "averaging-layer"},
    fields={
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "d_ff": "intermediate_size",
        "max_len": "max_position_embeddings",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
        "norm_eps": "layer_norm_eps",
        "n_segments": "type_vocab_size",
        "activation": "hidden_act",
    },
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    },
    fixed={
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignored=r"(bert\.)?embeddings\.position_ids",
    absent={"pooler": "pooler.dense.weight"},
)

FAMILY = Family(
    name="bert",
    title="BERT",
    paper="Devlin et al. 2019, arXiv:1810.04805",
    framing=ENCODER,
    offers=frozenset({Ability.BOTH_WAYS}),
    objective="mlm",
    config=BertConfig,
    build=Bert,
    heads=("mlm", "nsp"),
    pooling="mean",
    huggingface=HUGGINGFACE,
)
