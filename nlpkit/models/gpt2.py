"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).

A pre-norm decoder with the tanh approximation of GELU, a final norm, learnt positions, output weights tied to the
embedding; residual projections start smaller, by 1/sqrt(2 n_layers).

Deviations: attention probabilities have no dropout unless ``attention_dropout`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nlpkit.base.abilities import Ability
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.framing import DECODER
from nlpkit.layers.attention import Attention
from nlpkit.layers.block import PreNorm, Stack
from nlpkit.layers.embedding import Embeddings
from nlpkit.layers.feedforward import FeedForward, activation
from nlpkit.layers.heads import VocabularyHead
from nlpkit.layers.norm import LayerNorm
from nlpkit.layers.state import Cache
from nlpkit.layers.view import reading_on
from nlpkit.models.base import Config, Family, Model, Output
from nlpkit.models.names import HuggingFace, both, one


@dataclass(frozen=True, kw_only=True)
class Gpt2Config(Config):
    norm_eps: float = 1e-5
    activation: str = "gelu-tanh"


class Gpt2(Model):
    """See `Model` and the module's docstring."""

    family: ClassVar[str] = "gpt2"
    classifier_bias: ClassVar[bool] = False  # the final norm has one; classifiers in Hugging Face files have none
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
                    FeedForward(d_model, config.d_ff, activation(config.activation)),
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

    def forward(
        self, batch: Batch, *, layers: bool = False, state: Cache | None = None, wanted: Wanted | None = None
    ) -> Output:
        view = reading_on(batch.packing, state)
        x_ND = self.embeddings(batch.tokens, view)
        positions = self.wanted_positions(None if layers else wanted, batch)
        hidden, outputs = self.decoder(x_ND, view, keep=layers, cache=state, wanted=positions)
        return Output(hidden, batch, self.heads, self._pool, outputs, positions)

    def _pool(self, output: Output) -> Tensor:
        return output.at(self.pooled_positions(output.batch))

    def pooled_positions(self, batch: Batch) -> Tensor:
        return batch.packing.ends

    def _initialise(self) -> None:
        """Normal weights with std 0.02, residual projections scaled by 1/sqrt(2 n_layers) (section 2.3)."""
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                residual = name.endswith((".attention.output", ".feedforward.down"))
                scale = (2 * self.config.n_layers) ** -0.5 if residual else 1.0
                nn.init.normal_(module.weight, std=0.02 * scale)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


_LAYER, _THEIRS = "decoder.layers.{}", "transformer.h.{}"
HUGGINGFACE = HuggingFace(
    model_type="gpt2",
    prefix="transformer.",
    names=(
        one("embeddings.token.weight", "transformer.wte.weight"),
        one("embeddings.position.weight", "transformer.wpe.weight"),
        *both(f"{_LAYER}.attention_norm", f"{_THEIRS}.ln_1"),
        *both(
            [f"{_LAYER}.attention.{part}" for part in ("query", "key", "value")],
            f"{_THEIRS}.attn.c_attn",
            transposed=True,
        ),
        *both(f"{_LAYER}.attention.output", f"{_THEIRS}.attn.c_proj", transposed=True),
        *both(f"{_LAYER}.feedforward_norm", f"{_THEIRS}.ln_2"),
        *both(f"{_LAYER}.feedforward.up", f"{_THEIRS}.mlp.c_fc", transposed=True),
        *both(f"{_LAYER}.feedforward.down", f"{_THEIRS}.mlp.c_proj", transposed=True),
        *both("decoder.norm", "transformer.ln_f"),
        one("heads.classify.weight", "score.weight"),
    ),
    architectures={
        "GPT2LMHeadModel": ("clm",),
        "GPT2ForSequenceClassification": ("classify",),
        "GPT2Model": (),
    },
    pooling={"pooler": None, "last": None},
    fields={
        "vocab_size": "vocab_size",
        "d_model": "n_embd",
        "n_layers": "n_layer",
        "n_heads": "n_head",
        "d_ff": "n_inner",
        "max_len": "n_positions",
        "dropout": "resid_pdrop",
        "attention_dropout": "attn_pdrop",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
    },
    defaults={
        "vocab_size": 50257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
    },
    fixed={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    also={"embd_pdrop": "dropout"},
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",
)

FAMILY = Family(
    name="gpt2",
    title="GPT-2",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    framing=DECODER,
    offers=frozenset({Ability.CAUSAL}),
    objective="clm",
    config=Gpt2Config,
    build=Gpt2,
    heads=("clm",),
    pooling="last",
    huggingface=HUGGINGFACE,
)
