"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).

A pre-norm decoder with GELU by tanh, a last norm, learnt positions, output weights tied to the embedding; residual
projections start smaller, by 1/sqrt(2 n_layers).

Deviations: attention probabilities have no dropout unless ``attention_dropout`` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from nlpkit.data.batch import Batch
from nlpkit.layers.attention import Attention, Causal
from nlpkit.layers.block import PreNorm, Stack
from nlpkit.layers.embedding import Embeddings
from nlpkit.layers.feedforward import ACTIVATIONS, FeedForward
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.norm import LayerNorm
from nlpkit.models.base import Config, Family, Model, Output


@dataclass(frozen=True, kw_only=True)
class Gpt2Config(Config):
    norm_eps: float = 1e-5
    activation: str = "gelu-tanh"


class Gpt2(Model):
    """See `Model` and the module's docstring."""

    family: ClassVar[str] = "gpt2"
    config: Gpt2Config

    def __init__(self, config: Gpt2Config, heads: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        d_model, eps = config.d_model, config.norm_eps
        self.embeddings = Embeddings(config.vocab_size, d_model, config.max_len, dropout=config.dropout)
        self.decoder = Stack(
            [
                PreNorm(
                    Attention(d_model, config.n_heads, dropout=config.attention_dropout),
                    FeedForward(d_model, config.d_ff, ACTIVATIONS[config.activation]),
                    attention_norm=LayerNorm(d_model, eps),
                    feedforward_norm=LayerNorm(d_model, eps),
                    dropout=config.dropout,
                )
                for _ in range(config.n_layers)
            ],
            norm=LayerNorm(d_model, eps),
        )
        self.heads = nn.ModuleDict()
        if "clm" in heads:
            self.heads["clm"] = VocabularyHead(self.embeddings.token)
        self._initialise()

    def forward(self, batch: Batch, *, layers: bool = False, cache: Any = None) -> Output:
        offset = 0 if cache is None else cache.length
        x_ND = self.embeddings(batch.tokens, batch.packing, None, offset=offset)
        hidden_ND, kept = self.decoder(x_ND, batch.packing, Causal(), keep=layers, cache=cache)
        last = batch.packing.ends.to(hidden_ND.device)
        return Output(hidden_ND, batch, self.heads, lambda: hidden_ND.index_select(0, last), kept)

    def _initialise(self) -> None:
        """Normal weights with std 0.02, residual projections scaled by 1/sqrt(2 n_layers) (section 2.3)."""
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                residual = name.endswith((".attention.output", ".feedforward.down"))
                scale = (2 * self.config.n_layers) ** -0.5 if residual else 1.0
                nn.init.normal_(module.weight, std=0.02 * scale)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


FAMILY = Family(
    name="gpt2",
    title="GPT-2",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    framing="decoder",
    objective="clm",
    config=Gpt2Config,
    build=Gpt2,
)
