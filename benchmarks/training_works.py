"""What benchmarks/training.py compares: models, objectives and data of ours.

Text is Shakespeare's plays (`nlpkit.stages.demo_data`), the model 4 layers x 256 (with --small 2 x 128), sequences have
up to 128 tokens. A vocabulary of 30,000 pieces is more than the text gives: the table has as many rows, the last of
which no text reaches, which changes no time.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nlpkit
from nlpkit import objectives, tasks
from nlpkit.data import framing as framings
from nlpkit.data import labelled
from nlpkit.data.batch import Batch
from nlpkit.data.order import Epochs
from nlpkit.data.pretraining import source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.models import family as family_of
from nlpkit.models.load import Loaded, add_classifier, model_config
from nlpkit.models.sizes import config_for
from nlpkit.objectives.base import Objective
from nlpkit.stages import demo_data as shakespeare
from nlpkit.stages.finetune import epochs_of
from nlpkit.stages.pretrain import vocabulary
from nlpkit.tasks.reading import encode, encoder_of
from nlpkit.tokenizers import load as load_tokenizer

MASKING = dict.fromkeys(("mask_ratio", "mask_mix", "masks", "mask_copies"))


@dataclass(frozen=True)
class Work:
    """One row of the table: a family, a kind (mlm, clm, finetune), pieces of the vocabulary. Ours ``cut`` sequences
    so, the Trainer gathers them so ("blocks": nothing to pad; "dynamic": random batches padded to their longest;
    "grouped": batches of like lengths, padded to their longest; "padded": padded to the maximum)."""

    title: str
    family: str
    kind: str
    vocab_size: int = 8000
    cut: str = "blocks"
    peer: str = "blocks"


WORKS = {
    "mlm-8k": Work("masked LM, text in blocks, V 8 k", "bert", "mlm"),
    "mlm-30k": Work("masked LM, text in blocks, V 30 k", "bert", "mlm", 30_000),
    "mlm-lines": Work("masked LM, line by line, dynamic padding", "bert", "mlm", cut="sentences", peer="dynamic"),
    "clm-8k": Work("causal LM, V 8 k", "gpt2", "clm"),
    "clm-30k": Work("causal LM, V 30 k", "gpt2", "clm", 30_000),
    "finetune-dynamic": Work("fine-tuning, dynamic padding", "bert", "finetune", peer="dynamic"),
    "finetune-grouped": Work("fine-tuning, batches of like lengths", "bert", "finetune", peer="grouped"),
    "finetune-padded": Work("fine-tuning, padded to 128 (run_glue's default)", "bert", "finetune", peer="padded"),
}


@dataclass(frozen=True)
class Ours:
    """What the loop is given, and the sequences in the order in which the Trainer reads them (``blocks``: ours)."""

    loaded: Loaded
    objective: Objective
    data: Epochs
    order: Any  # example numbers

    def example(self, number: int) -> Batch:
        """One sequence."""
        return self.data.make(np.array([number]), 0)


def write_text(folder: Path, arguments: argparse.Namespace) -> None:
    """corpus.txt (a scene a document), lines.txt (a speech a document), train.jsonl."""
    shakespeare.write(folder)
    rows = shakespeare.divided()[1]["train"]  # all of them, of which the demonstration has a few
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (folder / "corpus.txt").read_text()[: 100_000 if arguments.small else None]
    (folder / "corpus.txt").write_text(text)
    (folder / "lines.txt").write_text("\n\n".join(line for line in text.splitlines() if line) + "\n")


def tokens_of(work: Work, folder: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The tokenizer and the token file of a work, made once."""
    pieces = 1000 if arguments.small else work.vocab_size
    tokenizer = folder / f"tokenizer-{pieces}.safetensors"
    if not tokenizer.exists():
        nlpkit.tokenizer_train([folder / "corpus.txt"], tokenizer, kind="wordpiece", vocab_size=pieces)
    text = "lines" if work.cut == "sentences" else "corpus"
    tokens = folder / f"{text}-{pieces}.safetensors"
    if not tokens.exists():
        nlpkit.tokens([folder / f"{text}.txt"], tokens, tokenizer=tokenizer, threads=1)
    return tokenizer, tokens


def build(work: Work, folder: Path, arguments: argparse.Namespace) -> Ours:
    """Ours of a work; the same seed, so the same weights, in every process."""
    torch.manual_seed(0)
    tokenizer, tokens = tokens_of(work, folder, arguments)
    return finetuning(tokenizer, arguments, folder) if work.kind == "finetune" else pretraining(work, tokens, arguments)


def pretraining(work: Work, tokens: Path, arguments: argparse.Namespace) -> Ours:
    """Masked or next words."""
    files = TokenFiles.open([tokens])
    family = family_of(work.family)
    network = family.build(
        shape(family, max(files.tokenizer.vocab_size, pieces(work, arguments)), arguments), (work.kind,)
    )
    loaded = Loaded(network, files.tokenizer, family, model_config(network, family), tokens)
    objective = objectives.build(work.kind, vocabulary(files.tokenizer), MASKING)
    frame = framings.framing(family.framing, files.tokenizer)

    def cut(batch_tokens: int) -> Epochs:
        return source(work.cut, files, frame, max_len=arguments.max_len, seed=0, batch_tokens=batch_tokens)

    data = cut(arguments.batch * arguments.max_len)
    if work.cut == "blocks":  # all of one length, so that the Trainer's batches can be ours
        data.lengths = data.lengths[data.lengths == arguments.max_len]
        plan = [batch for batch in data.plan(0) if len(batch) == arguments.batch]
        return Ours(loaded, objective, data, np.concatenate(plan))
    data = cut(max(arguments.max_len, round(arguments.batch * float(data.lengths.mean()))))
    return Ours(loaded, objective, data, np.random.default_rng(0).permutation(len(data.lengths)))


def finetuning(tokenizer: Path, arguments: argparse.Namespace, folder: Path) -> Ours:
    """The genre of a speech; ours has as many texts in a batch on average as the Trainer."""
    made = load_tokenizer(tokenizer)
    family = family_of("bert")
    network = family.build(shape(family, made.vocab_size, arguments), ())
    add_classifier(network, len(shakespeare.GENRES))
    examples = labelled.read(folder / "train.jsonl", label="label")
    options = {"pooling": "pooler", "text": "text", "pair": None, "label": "label", "max_len": arguments.max_len}
    task = tasks.kind("classify").learn(examples, options)
    loaded = Loaded(network, made, family, model_config(network, family, task=task.to_json()), folder)
    sequences = encode(task, examples, encoder_of(loaded, arguments.max_len), "train")
    data = epochs_of(sequences, seed=0, batch_tokens=round(arguments.batch * float(sequences.lengths.mean())))
    return Ours(loaded, task, data, np.random.default_rng(0).permutation(len(sequences)))


def pieces(work: Work, arguments: argparse.Namespace) -> int:
    return 1000 if arguments.small else work.vocab_size


def shape(family: Any, vocab_size: int, arguments: argparse.Namespace) -> Any:
    size = "tiny" if arguments.small else arguments.size
    return config_for(family, size, vocab_size=vocab_size, max_len=arguments.max_len, dropout=arguments.dropout)
