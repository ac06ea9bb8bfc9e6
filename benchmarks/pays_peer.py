"""The peer of benchmarks/pays.py: what transformers' run_mlm and run_glue do, with their model classes and collator.

run_mlm: lines of the text with [CLS] and [SEP], concatenated and cut into blocks as long as the model's positions; the
library's collator masks 15 %; AdamW, no decay of norms and biases, gradients clipped to 1, linear decay. run_glue:
BertForSequenceClassification, whose pooler is new; padded batches; the same optimizer; the best weights on dev.

Deviations, each in the peer's favour. A plain loop in place of the Trainer, which costs more. Warm-up of a tenth. No
dropout in pre-training, 0.1 of hidden states in fine-tuning, as ours. Batches are padded to their longest text, not to
the maximum, and texts are cut at the model's positions, not at 128 tokens. Encoding, the measurements on dev and the
start are free. A run is told its CPU seconds: the learning rate is a function of the fraction that is spent, so nobody
has to guess how many updates there will be. A fine-tuning makes three epochs (run_glue's default) in any case.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification
from transformers import DataCollatorForLanguageModeling as Collator

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

BLOCK_TOKENS = 2048  # in a batch of pre-training
PRETRAINING_RATE = 1e-3  # the best of five in benchmarks/time_to_quality.py
RATES = (5e-5, 2e-4, 5e-4, 1e-3, 3e-3)  # of fine-tuning
EPOCHS = 3  # of fine-tuning, at least
WARMUP = 0.1
LOOKS = 10  # measurements on dev in a fine-tuning

Batch = dict[str, torch.Tensor]
Texts = tuple[Sequence[str], Sequence[str] | None]  # texts, and the second texts of pairs


@dataclass
class Peer:
    """A tokenizer and a shape, of the directory that `nlpkit export` wrote of a model."""

    folder: Path

    def __post_init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.config = BertConfig.from_pretrained(self.folder)
        self.length = self.config.max_position_embeddings

    def blocks(self, corpus: Path) -> Any:
        """A corpus as run_mlm groups it: [blocks, length]."""
        lines = [line for line in corpus.read_text("utf-8").splitlines() if line and not line.isspace()]
        ids: list[np.ndarray] = []
        for start in range(0, len(lines), 5000):
            encoded = self.tokenizer(lines[start : start + 5000], verbose=False)["input_ids"]
            ids += [np.array(row, np.int32) for row in encoded]
        flat = np.concatenate(ids)
        return flat[: len(flat) // self.length * self.length].reshape(-1, self.length)

    def pretrain(self, blocks: Any, target: Path, *, seconds: float, seed: int) -> dict[str, float]:
        """A directory with the model that has learnt so long; returns updates and epochs."""
        torch.manual_seed(seed)
        model = BertForMaskedLM(without_dropout(self.config))
        collator = Collator(self.tokenizer, mlm_probability=0.15)
        special = np.isin(blocks, [self.tokenizer.cls_token_id, self.tokenizer.sep_token_id]).astype(np.int64)
        size = max(1, BLOCK_TOKENS // self.length)

        def batches(rows: Any) -> Iterator[Batch]:
            for start in range(0, len(rows), size):
                chosen = rows[start : start + size]
                yield collator(
                    [{"input_ids": blocks[row].astype(np.int64), "special_tokens_mask": special[row]} for row in chosen]
                )

        run = Run(model, PRETRAINING_RATE, seconds, seed)
        run.learn(len(blocks), batches)
        model.save_pretrained(target)
        return {"updates": run.updates, "epochs": run.epochs, "loss": run.loss}

    def encode(self, texts: Texts) -> list[Any]:
        """Examples as run_glue encodes them: dictionaries of lists."""
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.length)
        return [
            {"input_ids": ids, "token_type_ids": kinds}
            for ids, kinds in zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
        ]

    def finetune(
        self,
        pretrained: Path,
        train: tuple[list[Any], Any],
        dev: tuple[list[Any], Any],
        *,
        seconds: float,
        rate: float,
        seed: int,
    ) -> tuple[Any, float]:
        """The classifier that was best on dev, and its accuracy there. ``train`` and ``dev``: examples, classes."""
        examples, classes = train
        torch.manual_seed(seed)
        settings = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0}
        model = BertForSequenceClassification.from_pretrained(pretrained, num_labels=int(classes.max()) + 1, **settings)
        size = 8 if len(examples) < 1000 else 16

        def batches(rows: Any) -> Iterator[Batch]:
            for start in range(0, len(rows), size):
                chosen = rows[start : start + size]
                yield {**padded([examples[row] for row in chosen]), "labels": torch.from_numpy(classes[chosen])}

        best: tuple[float, Any] = (-1.0, None)

        def look() -> None:
            nonlocal best
            value = float((predict(model, dev[0]) == dev[1]).mean())
            if value >= best[0]:
                best = (value, copy.deepcopy(model.state_dict()))

        run = Run(model, rate, seconds, seed, at_least=EPOCHS)
        run.learn(len(examples), batches, look)
        model.load_state_dict(best[1])
        return model, best[0]


@dataclass
class Run:
    """A training of ``seconds``, and of ``at_least`` so many epochs."""

    model: Any
    rate: float
    seconds: float
    seed: int
    at_least: int = 0
    updates: int = 0
    epochs: float = 0.0
    loss: float = 0.0

    def learn(self, n: int, batches: Callable[[Any], Iterator[Batch]], look: Callable[[], None] = lambda: None) -> None:
        """Epochs of ``n`` examples, as many as there is time for; ``look`` is called LOOKS times, and is free."""
        optimizer = torch.optim.AdamW(groups(self.model), lr=self.rate, weight_decay=0.01, fused=True)
        order = np.random.default_rng(self.seed)
        began, looked, epoch = time.process_time(), 0, 0
        while True:
            seen = 0
            self.model.train()
            for batch in batches(order.permutation(n)):
                fraction = self.fraction(time.process_time() - began)
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * max(1e-3, min(fraction / WARMUP, (1 - fraction) / (1 - WARMUP)))
                loss = self.model(**batch).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                seen += len(batch["labels"])
                self.updates, self.epochs, self.loss = self.updates + 1, epoch + seen / n, loss.item()
                fraction = self.fraction(time.process_time() - began)
                if fraction * LOOKS >= looked + 1:
                    before, looked = time.process_time(), int(fraction * LOOKS)
                    look()
                    self.model.train()
                    began += time.process_time() - before
                if fraction >= 1:
                    return
            epoch += 1

    def fraction(self, spent: float) -> float:
        """How much of the training is done."""
        done = min(1.0, spent / self.seconds)
        return min(done, self.epochs / self.at_least) if self.at_least else done


def predict(model: Any, examples: list[Any]) -> Any:
    """Classes [n]; texts of like lengths are read together."""
    order = np.argsort([len(item["input_ids"]) for item in examples], kind="stable")
    found = np.zeros(len(examples), np.int64)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            found[rows] = model(**padded([examples[row] for row in rows])).logits.argmax(1).numpy()
    return found


def padded(examples: list[Any]) -> Batch:
    """Examples as long as their longest."""
    longest = max(len(item["input_ids"]) for item in examples)
    batch = {name: torch.zeros(len(examples), longest, dtype=torch.long) for name in ("input_ids", "token_type_ids")}
    mask = torch.zeros(len(examples), longest, dtype=torch.long)
    for row, item in enumerate(examples):
        length = len(item["input_ids"])
        mask[row, :length] = 1
        for name, values in batch.items():
            values[row, :length] = torch.tensor(item[name])
    return {**batch, "attention_mask": mask}


def without_dropout(config: Any) -> Any:
    """The same shape."""
    return BertConfig(**{**config.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})


def groups(model: Any) -> list[dict[str, Any]]:
    """Parameters with decay and, norms and biases, without, as the Trainer has them."""
    vectors = [value for value in model.parameters() if value.ndim < 2]
    matrices = [value for value in model.parameters() if value.ndim >= 2]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
