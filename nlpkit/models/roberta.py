"""RoBERTa (Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach", sections 3 and 4).

BERT's network without segments, framed <s> A </s> and <s> A </s></s> B </s>, pre-trained on masked words alone, with
masks drawn anew in each epoch (section 4.1) and text that fills each sequence (section 4.2: FULL-SENTENCES, one
separator between documents). Its tokenizer is a byte-level BPE (section 4.4).

Deviations: those of BERT; epsilon is 1e-5, as in the published weights. A classifier reads the first token through a
pooler, which pre-training leaves untrained, as in the paper's code and in Hugging Face's class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from nlpkit.base.abilities import Ability
from nlpkit.data.framing import Template
from nlpkit.models.base import Family, or_none
from nlpkit.models.bert import HUGGINGFACE as BERT
from nlpkit.models.bert import Bert, BertConfig, encoder_names
from nlpkit.models.names import both, one


@dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    """``n_segments`` 1: the published weights have one row, which every token reads."""

    norm_eps: float = 1e-5
    n_segments: int = or_none(1)


class Roberta(Bert):
    """See the module's docstring."""

    family: ClassVar[str] = "roberta"
    head_activation: ClassVar[str | None] = "gelu"  # whatever the layers' is, as in Hugging Face's class
    config: RobertaConfig


CLASSIFIER = "RobertaForSequenceClassification"
HUGGINGFACE = replace(
    BERT,
    model_type="roberta",
    prefix="roberta.",
    names=(
        *encoder_names("roberta."),
        *both("pooler.dense", "classifier.dense", only=CLASSIFIER),
        one("heads.mlm.bias", "lm_head.bias"),
        *both("heads.mlm.transform.dense", "lm_head.dense"),
        *both("heads.mlm.transform.norm", "lm_head.layer_norm"),
        *both("heads.classify", "classifier.out_proj"),
    ),
    architectures={"RobertaForMaskedLM": ("mlm",), CLASSIFIER: ("classify",), "RobertaModel": ()},
    defaults={**BERT.defaults, "vocab_size": 50265, "pad_token_id": 1},
    tied={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    ignored=r"(roberta\.)?embeddings\.(position_ids|token_type_ids)",
    positions="roberta.embeddings.position_embeddings.weight",
)

FAMILY = Family(
    name="roberta",
    title="RoBERTa",
    paper="Liu et al. 2019, arXiv:1907.11692",
    framing=Template("cls A sep", "cls A sep sep B sep"),
    offers=frozenset({Ability.BOTH_WAYS}),
    objective="mlm",
    config=RobertaConfig,
    build=Roberta,
    heads=("mlm",),
    pooling="mean",
    huggingface=HUGGINGFACE,
)
