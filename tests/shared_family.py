"""A family for tests whose one block computes all layers but the last (as ALBERT's does), and whose pooler and
feed-forward layers have no biases."""

from __future__ import annotations

from torch import Tensor, nn

from nlpkit.base.abilities import Ability
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.framing import DECODER
from nlpkit.layers.attention import Attention
from nlpkit.layers.block import PreNorm, Stack
from nlpkit.layers.embedding import Embeddings
from nlpkit.layers.feedforward import FeedForward, gelu
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.state import Cache
from nlpkit.layers.view import reading_on
from nlpkit.models.base import Config, Family, Model, Output


class Shared(Model):
    family = "shared"

    def __init__(self, config: Config, heads: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config.vocab_size, config.d_model, config.max_len, dropout=config.dropout)
        blocks = [self._block(config) for _ in range(min(2, config.n_layers))]
        order = (0,) * (config.n_layers - 1) + (len(blocks) - 1,)
        self.decoder = Stack(blocks, norm=LayerNorm(config.d_model, config.norm_eps), order=order)
        self.heads = nn.ModuleDict({"clm": VocabularyHead(self.embeddings.token)} if "clm" in heads else {})
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.05)

    def _block(self, config: Config) -> PreNorm:
        return PreNorm(
            Attention(config.d_model, config.n_heads, dropout=config.attention_dropout, bias=False),
            FeedForward(config.d_model, config.d_ff, gelu, bias=False),
            attention_norm=LayerNorm(config.d_model, config.norm_eps),
            feedforward_norm=LayerNorm(config.d_model, config.norm_eps),
            dropout=config.dropout,
        )

    def forward(
        self, batch: Batch, *, layers: bool = False, state: Cache | None = None, wanted: Wanted | None = None
    ) -> Output:
        view = reading_on(batch.packing, state)
        x_ND = self.embeddings(batch.tokens, view)
        positions = self.wanted_positions(None if layers else wanted, batch)
        hidden, kept = self.decoder(x_ND, view, keep=layers, cache=state, wanted=positions)
        return Output(hidden, batch, self.heads, lambda output: output.at(batch.packing.ends), kept, positions)

    def pooled_positions(self, batch: Batch) -> Tensor:
        return batch.packing.ends


FAMILY = Family(
    name="shared",
    title="Shared",
    paper="tests",
    framing=DECODER,
    offers=frozenset({Ability.CAUSAL}),
    objective="clm",
    config=Config,
    build=Shared,
    heads=("clm",),
    pooling="last",
)
