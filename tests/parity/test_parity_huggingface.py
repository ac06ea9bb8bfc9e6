"""Each family against transformers: random weights, several shapes, both directions, padded against packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nlpkit
from nlpkit.data.batch import Batch
from nlpkit.exchange import huggingface, tokenizer_files
from nlpkit.exchange.export import export
from nlpkit.layers.packing import Packing
from nlpkit.models import family
from nlpkit.models.load import Loaded, add_classifier, model_config
from nlpkit.models.sizes import config_for
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.word import Word

pytestmark = pytest.mark.oracle
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = 1e-5
LENGTHS = (9, 9, 4, 12, 1)
# vocabulary, width, layers, heads, feed-forward, longest
SHAPES = [(50, 16, 1, 1, 32, 12), (97, 48, 2, 4, 80, 20), (300, 64, 3, 2, 256, 64), (33, 36, 2, 3, 20, 13)]
THEIR_LOGITS = {
    "mlm": ("prediction_logits", "logits"),
    "clm": ("logits",),
    "classify": ("logits",),
    "nsp": ("seq_relationship_logits", "logits"),
}
LABELS = ("blue", "green", "red")
POSITIONS = "embeddings.position_embeddings.weight"


def batch(vocab: int, segments: bool, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    packing = Packing.of(LENGTHS)
    tokens = torch.randint(4, vocab, (packing.total,), generator=generator)  # none is padding
    kinds = torch.cat([(torch.arange(length) >= length // 2).long() for length in LENGTHS]) if segments else None
    special = torch.zeros(packing.total, dtype=torch.bool)
    return Batch(tokens, packing, torch.arange(len(LENGTHS)), special, kinds)


def tokenizer(pad: int) -> Word:
    """One whose padding has this id, at most 3."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(25))]
    return Word([*pieces[:pad], "[PAD]", *pieces[pad:]], DEFAULT_SPECIAL)


def padded(given: Batch, pad: int) -> dict[str, Tensor]:
    """The same sequences as transformers wants them."""
    rows = given.tokens.split(list(given.packing.lengths))

    def fill(parts: Any, value: int = 0) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)

    found = {"input_ids": fill(rows, pad), "attention_mask": fill(torch.ones_like(row) for row in rows)}
    if given.segments is not None:
        found["token_type_ids"] = fill(given.segments.split(list(given.packing.lengths)))
    return found


def unpadded(values: Tensor) -> Tensor:
    """[B, T, ...] -> [N, ...]"""
    return torch.cat([row[:length] for row, length in zip(values, LENGTHS, strict=True)])


def difference(left: Tensor, right: Tensor) -> float:
    assert left.shape == right.shape
    return float((left - right).abs().max())


@torch.no_grad()
def compare(ours: Loaded, theirs: Any) -> None:
    """Hidden states of every layer, the pooled vector and the logits of every head that both have."""
    given = batch(ours.model.config.vocab_size, ours.family.framing.segments)
    output = ours.model(given, layers=True)
    expected = theirs.eval()(**padded(given, theirs.config.pad_token_id), output_hidden_states=True)
    layers = [unpadded(value) for value in expected.hidden_states]
    assert difference(output.hidden, layers[-1]) <= CLOSE
    for left, right in zip(output.layers[:-1], layers[:-1], strict=True):
        assert difference(left, right) <= CLOSE
    compared = 0
    for head, names in THEIR_LOGITS.items():
        for name in names:
            if head in ours.model.heads and name in expected:
                by_token = head in ("mlm", "clm")
                logits = unpadded(expected[name]) if by_token else expected[name]
                found = ours.model.heads[head](output.hidden if by_token else output.pooled)
                assert difference(found, logits) <= CLOSE
                compared += 1
    assert compared == len(ours.model.heads)
    if "pooler_output" in expected:
        assert difference(output.pooled, expected["pooler_output"]) <= CLOSE


def their_config(name: str, shape: tuple[int, ...]) -> Any:
    vocab, width, layers, heads, d_ff, longest = shape
    labels = {"id2label": dict(enumerate(LABELS)), "pad_token_id": layers}
    if not name.startswith("GPT2"):
        roberta = name.startswith("Roberta")
        return (transformers.RobertaConfig if roberta else transformers.BertConfig)(
            vocab_size=vocab,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=d_ff,
            max_position_embeddings=longest + layers + 1 if roberta else longest,
            type_vocab_size=1 if roberta else 2,
            initializer_range=0.1,
            hidden_act="gelu_new" if layers == 3 else "gelu",
            **labels,
        )
    return transformers.GPT2Config(
        vocab_size=vocab,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_inner=None if layers == 3 else d_ff,
        n_positions=longest,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.1,
        **labels,
    )


THEIRS = [
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertModel",
    "RobertaForMaskedLM",
    "RobertaForSequenceClassification",
    "RobertaModel",
    "GPT2LMHeadModel",
    "GPT2ForSequenceClassification",
    "GPT2Model",
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", THEIRS)
def test_theirs_read_by_us(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = getattr(transformers, name)(their_config(name, shape))
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases and norms too
            parameter.add_(0.05 * torch.randn_like(parameter))
        if name.startswith("Roberta"):  # rows that no token reads are written as zeros
            theirs.get_parameter("roberta." * (name != "RobertaModel") + POSITIONS)[: shape[2] + 1] = 0
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer_files.write(tokenizer(shape[2]), tmp_path / "theirs", max_len=shape[5], template=None)
    ours = nlpkit.load(tmp_path / "theirs")
    compare(ours, theirs)
    if "SequenceClassification" in name:
        assert ours.config["task"]["labels"] == list(LABELS)
    # And back: the same tensors, in the same class, every one of them found.
    export(tmp_path / "theirs", tmp_path / "back")
    back, info = getattr(transformers, name).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(info.values()), info
    state = back.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in theirs.state_dict().items())


HEADS = [
    ("bert", ("mlm", "nsp"), "BertForPreTraining"),
    ("bert", ("mlm",), "BertForMaskedLM"),
    ("bert", (), "BertModel"),
    ("bert", ("classify",), "BertForSequenceClassification"),
    ("roberta", ("mlm",), "RobertaForMaskedLM"),
    ("roberta", (), "RobertaModel"),
    ("roberta", ("classify",), "RobertaForSequenceClassification"),
    ("gpt2", ("clm",), "GPT2LMHeadModel"),
    ("gpt2", (), "GPT2Model"),
    ("gpt2", ("classify",), "GPT2ForSequenceClassification"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "heads", "architecture"), HEADS)
def test_ours_read_by_them(
    name: str, heads: tuple[str, ...], architecture: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    vocab, width, layers, n_heads, d_ff, longest = shape
    torch.manual_seed(2)
    found = family(name)
    network = found.build(
        config_for(
            found,
            "tiny",
            vocab_size=vocab,
            max_len=longest,
            dropout=0.1,
            n_layers=layers,
            d_model=width,
            n_heads=n_heads,
            d_ff=d_ff,
        ),
        tuple(head for head in heads if head != "classify"),
    )
    task = None
    if "classify" in heads:
        add_classifier(network, len(LABELS))
        task = {"name": "classify", "labels": list(LABELS), "pooling": "pooler"}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    folder = tmp_path / "ours"
    folder.mkdir()
    config = model_config(network, found, task=task)
    ours = Loaded(network.eval(), tokenizer(layers), found, config, tmp_path / "model.safetensors")
    assert huggingface.write(folder, ours, None) == architecture
    theirs, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    info["unexpected_keys"] -= {f"{name}.pooler.dense.{part}" for part in ("weight", "bias")}  # kept for AutoModel
    assert not any(info.values()), info
    compare(ours, theirs)
    assert type(transformers.AutoModel.from_pretrained(folder)).__name__ in ("BertModel", "RobertaModel", "GPT2Model")
    again = nlpkit.load(folder)
    assert again.config == config | ({} if task is None else {"task": again.config["task"]})
    assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in network.state_dict().items())


# The published sizes: vocabulary, positions, layers, width -> parameters of the bare model.
COUNTS = {
    ("bert", 30522, 512, 12, 768): 109_482_240,
    ("bert", 30522, 512, 24, 1024): 335_141_888,
    ("roberta", 50265, 512, 12, 768): 124_645_632 - 2 * 768,  # theirs less the rows of positions that no token reads
    ("roberta", 50265, 512, 24, 1024): 355_359_744 - 2 * 1024,
    ("gpt2", 50257, 1024, 12, 768): 124_439_808,
    ("gpt2", 50257, 1024, 48, 1600): 1_557_611_200,
}


@pytest.mark.parametrize("published", COUNTS, ids=str)
def test_the_published_sizes_have_the_published_parameters(published: tuple[str, int, int, int, int]) -> None:
    name, vocab, longest, layers, width = published
    with torch.device("meta"):
        heads = 25 if width == 1600 else width // 64
        shape = {"n_layers": layers, "d_model": width, "n_heads": heads}
        config = config_for(family(name), "tiny", vocab_size=vocab, max_len=longest, dropout=0.1, **shape)
        network = family(name).build(config, ())
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[published]
