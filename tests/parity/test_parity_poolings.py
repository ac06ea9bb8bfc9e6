"""Classifiers of poolings that their classes lack, rewritten, against transformers: padded batches, pairs, eager and
sdpa attention, 32 bits and 16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch.nn.utils.rnn import pad_sequence

import nlpkit
from nlpkit.exchange import huggingface

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("one_thread")]
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = 1e-5
BERT = "BertForSequenceClassification"


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("eps", [1e-12, 1e-5])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_logits_of_padded_batches(tmp_path: Path, pooling: str, eps: float, classes: int, attention: str) -> None:
    ours, batch = toys.classifier(pooling, norm_eps=eps, classes=classes), toys.batch()
    assert huggingface.write(tmp_path, ours, None) == BERT
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token_id": 0}))
    theirs, info = getattr(transformers, BERT).from_pretrained(
        tmp_path, attn_implementation=attention, output_loading_info=True
    )
    assert not any(info.values()), info
    lengths = list(batch.packing.lengths)
    rows = batch.tokens.split(lengths)
    padded = {
        "input_ids": pad_sequence(list(rows), batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "token_type_ids": pad_sequence(list(batch.segments.split(lengths)), batch_first=True),
    }
    expected, exact = (toys.logits(ours.model, batch, pooling, exact=exact) for exact in (False, True))
    largest = exact.abs().max()
    assert largest > 30
    # No more than the rounding errors of 32 bits, which nlpkit's own logits have.
    error = (theirs.eval()(**padded).logits - exact).abs().max()
    assert error <= 2 * (expected - exact).abs().max() + CLOSE
    # In bfloat16 its 8 bits of precision are lost and no more; in float16 nothing is left, as the note says.
    rough = theirs.bfloat16()(**padded).logits.float()
    assert (rough - exact).abs().max() < 2.0**-4 * largest
    assert not theirs.half()(**padded).logits.isfinite().all()


LEARN: dict[str, Any] = {"lr": 3e-3, "batch_tokens": 256, "threads": 1, "steps": 80}


@pytest.mark.parametrize(
    ("name", "pooling"), [("bert", "cls"), ("bert", "mean"), ("roberta", "mean"), ("gpt2", "last")]
)
@pytest.mark.parametrize("data", ["texts", "pairs"])
def test_trained_classifiers_of_texts_and_pairs(tmp_path: Path, name: str, pooling: str, data: str) -> None:
    columns: dict[str, Any] = {"text": "a", "pair": "b", "label": "both"} if data == "pairs" else {}
    train, dev = (
        getattr(toys, data)(tmp_path / f"{role}.{'tsv' if data == 'pairs' else 'jsonl'}", count, seed=count)
        for role, count in (("train", 200), ("dev", 24))
    )
    toys.model(tmp_path / "model.safetensors", name, max_len=40)
    clf, folder = tmp_path / "clf.safetensors", tmp_path / "hf"
    nlpkit.finetune(tmp_path / "model.safetensors", train, clf, pooling=pooling, **columns, **LEARN)
    nlpkit.export(clf, folder)
    labels = nlpkit.load(clf).config["task"]["labels"]
    expected = torch.tensor([[row["probabilities"][label] for label in labels] for row in nlpkit.predict(clf, dev)])
    assert (expected.amax(0) - expected.amin(0)).min() > 1e-3  # texts differ
    rows = [line.split("\t")[:2] for line in dev.read_text().splitlines()[1:]]
    texts = zip(*rows, strict=True) if data == "pairs" else [[row["text"] for row in toys.lines(dev)]]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert [theirs.config.id2label[number] for number in range(len(labels))] == labels
    with torch.no_grad():
        logits = theirs.eval()(**tokenizer(*map(list, texts), padding=True, return_tensors="pt")).logits
    assert torch.allclose(logits.softmax(-1), expected, rtol=0, atol=CLOSE)
