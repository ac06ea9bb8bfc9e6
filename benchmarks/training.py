"""The training loop's speed beside Hugging Face transformers' models, in the same process, a slice of each in turn.

The peer is transformers' own model class with the same weights, trained as its Trainer trains: padded batches, the
model's own loss, gradients clipped to 1, fused AdamW without decay on biases and norms, a linear schedule. It is not
the Trainer itself, which needs accelerate: the Trainer's data loader and callbacks and its masking of words are no part
of the peer's time; ours has its own. Neither side drops anything out, both use one thread.

    mlm       masked words of concatenated text, 4 layers x 256, sequences of 128: the same masked batches on both sides
    clm       the next word of the same text, GPT-2's model: the same batches on both sides
    finetune  speeches of uneven length: ours packs texts of like length, the peer pads random batches to the longest,
              with as many texts in a batch on average

Speed is tokens that are not padding for each second of processor time, by slice; the ratio is ours to the peer's in the
slice that follows it, as median [least .. greatest]. The losses are printed for both, so that anyone sees that the same
thing was learnt; for mlm and clm they must agree, and the script ends with an error when they do not.

    python benchmarks/training.py                       # all three, some minutes
    python benchmarks/training.py --work mlm --slices 20
    python benchmarks/training.py --small               # seconds; shows that it runs, measures nothing of interest
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch

import nlpkit
from nlpkit import events, objectives, tasks
from nlpkit.artifact import huggingface
from nlpkit.artifact.provenance import Run
from nlpkit.data import framing as framings
from nlpkit.data import labelled
from nlpkit.data.batch import Batch
from nlpkit.data.order import Epochs, Part, Position
from nlpkit.data.pretraining import source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.models import family as family_of
from nlpkit.models.load import Loaded, add_classifier, model_config
from nlpkit.models.sizes import config_for
from nlpkit.objectives.base import Objective
from nlpkit.seeds import Address
from nlpkit.showcase import data as shakespeare
from nlpkit.tasks.reading import encode, encoder_of
from nlpkit.tokenizers import load as load_tokenizer
from nlpkit.training import loop
from nlpkit.training.finetune import epochs_of
from nlpkit.training.pretrain import vocabulary
from nlpkit.training.settings import Settings

WORKS = {"mlm": "bert", "clm": "gpt2", "finetune": "bert"}
MASKING = dict.fromkeys(("mask_ratio", "mask_mix", "masks", "mask_copies"))


class Peer:
    """transformers' model and what its Trainer does with a batch."""

    def __init__(self, loaded: Loaded, settings: Settings, folder: Path) -> None:
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        folder.mkdir()
        architecture = huggingface.write(folder, loaded, None)["architecture"]
        self.model = getattr(transformers, architecture).from_pretrained(
            folder, **dict.fromkeys(dropouts(architecture), 0.0)
        )
        self.settings, self.step = settings, 0
        named = list(self.model.named_parameters())
        groups = [
            {"params": [value for _, value in named if value.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [value for _, value in named if value.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.beta1, settings.beta2),
                                           eps=settings.adam_eps, fused=True)  # fmt: skip

    def train(self, inputs: dict[str, torch.Tensor]) -> float:
        """One step; returns its loss."""
        self.model.train()
        loss = self.model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm or float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr_at(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item()


def dropouts(architecture: str) -> tuple[str, ...]:
    if architecture.startswith("GPT2"):
        return ("resid_pdrop", "embd_pdrop", "attn_pdrop")
    return ("hidden_dropout_prob", "attention_probs_dropout_prob")


def padded(batch: Batch, labels: torch.Tensor | None, fill: int) -> dict[str, torch.Tensor]:
    """The batch as transformers wants it. ``labels`` [N] are each token's, or [B] each sequence's."""
    lengths = list(batch.packing.lengths)

    def rows(values: torch.Tensor, value: int) -> torch.Tensor:
        parts = values.split(lengths)
        return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)

    found = {"input_ids": rows(batch.tokens, fill), "attention_mask": rows(torch.ones_like(batch.tokens), 0)}
    if batch.segments is not None:
        found["token_type_ids"] = rows(batch.segments, 0)
    if labels is not None:
        found["labels"] = rows(labels, -100) if len(labels) == batch.packing.total else labels
    return found


class InTurn:
    """Our source of batches, which lets the peer work between two slices of ours, and keeps both sides' time.

    The loop asks for a batch, trains on it and asks for the next: what lies between is ours.
    """

    def __init__(self, given: Any, slice_steps: int, peer: Callable[[list[tuple[Batch, int]]], int]) -> None:
        self.given, self.slice_steps, self.peer = given, slice_steps, peer
        self.ours: list[tuple[int, float]] = []  # tokens and seconds of each slice
        self.theirs: list[tuple[int, float]] = []

    def read(self, position: Position, parts: int, chosen: Sequence[int]) -> Iterator[tuple[list[Part], int, Position]]:
        seen: list[tuple[Batch, int]] = []
        gc.collect()
        began = time.process_time()
        for read, epoch, after in self.given.read(position, parts, chosen):
            if len(seen) == self.slice_steps:
                self.turn(seen, began)
                seen = []
                began = time.process_time()
            seen.append((read[0].batch, epoch))
            yield read, epoch, after

    def turn(self, seen: list[tuple[Batch, int]], began: float) -> None:
        """The end of a slice of ours: its time, and the peer's slice."""
        self.ours.append((sum(batch.packing.total for batch, _ in seen), time.process_time() - began))
        self.theirs.append(self.peer(seen))

    def count(self, epochs: int) -> int:
        return int(self.given.count(epochs))


def compare(
    work: str, loaded: Loaded, objective: Objective, data: Epochs, arguments: argparse.Namespace, folder: Path,
    peers: Callable[[list[tuple[Batch, int]]], list[dict[str, torch.Tensor]]],
) -> dict[str, Any]:  # fmt: skip
    """Train both, a slice of each in turn; ``peers`` makes the peer's inputs of a slice, outside its time."""
    steps = arguments.slice_steps * (arguments.slices + 1)
    settings = Settings(steps=steps + 1, lr=arguments.lr, log_every=1, save_every=10**9, warmup_fraction=0.1)
    peer, losses = Peer(loaded, settings, folder / f"peer-{work}"), {"ours": [], "peer": []}

    def train_peer(seen: list[tuple[Batch, int]]) -> tuple[int, float]:
        inputs = peers(seen)
        gc.collect()
        began = time.process_time()
        losses["peer"] += [peer.train(item) for item in inputs]
        seconds = time.process_time() - began
        return sum(int(item["attention_mask"].sum()) for item in inputs), seconds

    turns = InTurn(data, arguments.slice_steps, train_peer)

    def listener(record: dict[str, Any]) -> None:
        if record["event"] == "step":
            losses["ours"].append(record["loss"])

    run = Run.start("benchmark", {"output": folder / f"{work}.safetensors", "work": work}, inputs=())
    with events.listen(listener):
        loop.train(loaded.model, objective, turns, settings, run)
    # The first slice of each warms the caches, and the one step after the last slice belongs to none.
    ours, theirs = ([tokens / seconds for tokens, seconds in side[1:]] for side in (turns.ours, turns.theirs))
    ratios = [left / right for left, right in zip(ours, theirs, strict=True)]
    spread = {"median": median(ratios), "least": min(ratios), "greatest": max(ratios)}
    result = {
        "work": work, "ratio": spread, "ours_tokens_per_cpu_second": median(ours),
        "peer_tokens_per_cpu_second": median(theirs), "slices": len(ratios), "slice_steps": arguments.slice_steps,
        "parameters": sum(value.numel() for value in loaded.model.parameters()),
    }  # fmt: skip
    both = min(len(losses["ours"]), len(losses["peer"]))
    result["losses"] = {side: values[:both] for side, values in losses.items()}
    return result


def pretraining(work: str, tokens: Path, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Masked or next words of the whole text, in blocks of one length."""
    files = TokenFiles.open([tokens])
    family = family_of(WORKS[work])
    torch.manual_seed(0)
    config = shape(family, files.tokenizer.vocab_size, arguments)
    network = family.build(config, (work,))
    loaded = Loaded(network, files.tokenizer, family, model_config(network, family), folder)
    objective = objectives.build(work, vocabulary(files.tokenizer), MASKING)
    frame = framings.framing(family.framing, files.tokenizer)
    data = source("blocks", files, frame, max_len=arguments.max_len, seed=0,
                  batch_tokens=arguments.batch * arguments.max_len)  # fmt: skip
    pad = files.tokenizer.role("pad") or 0

    def peers(seen: list[tuple[Batch, int]]) -> list[dict[str, torch.Tensor]]:
        found = []
        for batch, epoch in seen:
            if work == "clm":
                found.append(padded(batch, batch.tokens, pad))
                continue
            corrupted, target = objective.corrupt(batch, Address(0, ("objective", epoch)))
            labels = torch.full_like(batch.tokens, -100)
            labels[target.fields["positions"]] = target.fields["labels"]
            found.append(padded(corrupted, labels, pad))
        return found

    result = compare(work, loaded, objective, data, arguments, folder, peers)
    ours, theirs = (np.array(result["losses"][side]) for side in ("ours", "peer"))
    result["largest_difference_of_losses"] = float(np.abs(ours - theirs).max())
    return result


def finetuning(tokenizer: Path, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The genre of a speech. Both read the training texts in their own batches, as many texts in one on average."""
    made = load_tokenizer(tokenizer)
    family = family_of("bert")
    torch.manual_seed(0)
    network = family.build(shape(family, made.vocab_size, arguments), ())
    add_classifier(network, len(shakespeare.GENRES))
    examples = labelled.read(folder / "train.jsonl", label="genre")
    options = {"pooling": "pooler", "text": "text", "pair": None, "label": "genre", "max_len": arguments.max_len}
    task = tasks.kind("classify").learn(examples, options)
    config = model_config(network, family, task=task.to_json())
    loaded = Loaded(network, made, family, config, folder)
    sequences = encode(task, examples, encoder_of(loaded, arguments.max_len), "train")
    data = epochs_of(sequences, seed=0, batch_tokens=round(arguments.batch * float(sequences.lengths.mean())))
    order = np.random.default_rng(0).permutation(len(sequences))
    taken, pad = 0, made.role("pad") or 0

    def peers(seen: list[tuple[Batch, int]]) -> list[dict[str, torch.Tensor]]:
        nonlocal taken
        found = []
        for _ in seen:
            chosen = order[np.arange(taken, taken + arguments.batch) % len(order)]
            taken += arguments.batch
            batch = sequences.batch(chosen)
            found.append(padded(batch, batch.labels["classify"], pad))
        return found

    return compare("finetune", loaded, task, data, arguments, folder, peers)


def shape(family: Any, vocab_size: int, arguments: argparse.Namespace) -> Any:
    size = "tiny" if arguments.small else "mini"
    return config_for(family, size, vocab_size=vocab_size, max_len=arguments.max_len, dropout=0.0)


def show(result: dict[str, Any]) -> None:
    ratio, speeds = result["ratio"], [result[f"{side}_tokens_per_cpu_second"] for side in ("ours", "peer")]
    spread = f"{ratio['median']:.2f} [{ratio['least']:.2f} .. {ratio['greatest']:.2f}]"
    print(f"\n{result['work']}: {spread} times the peer's tokens per second of processor time "
          f"({speeds[0]:,.0f} / {speeds[1]:,.0f})")  # fmt: skip
    print(f"  {result['slices']} slices of {result['slice_steps']} steps, {result['parameters']:,} parameters")
    losses = result["losses"]
    places = np.unique(np.linspace(0, len(losses["ours"]) - 1, 8).astype(int))
    print("  step  " + "".join(f"{place + 1:>9}" for place in places))
    for side, values in losses.items():
        print(f"  {side:<6}" + "".join(f"{values[place]:>9.4f}" for place in places))
    if "largest_difference_of_losses" in result:
        print(f"  largest difference of the losses over {len(losses['ours'])} steps: "
              f"{result['largest_difference_of_losses']:.2g}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS), help="what to compare (default: all)")
    parser.add_argument("--slices", type=int, default=12, help="slices of each side that count (default: 12)")
    parser.add_argument("--slice-steps", type=int, default=3, help="steps in a slice (default: 3)")
    parser.add_argument("--batch", type=int, default=32, help="sequences in a batch (default: 32)")
    parser.add_argument("--max-len", type=int, default=128, help="tokens in a sequence (default: 128)")
    parser.add_argument("--vocab-size", type=int, default=8000, help="pieces of the tokenizer (default: 8000)")
    parser.add_argument("--lr", type=float, default=5e-4, help="peak learning rate of both (default: 5e-4)")
    parser.add_argument("--small", action="store_true", help="a smaller model, text and batch: does it run?")
    parser.add_argument("--json", action="store_true", help="print one JSON object, losses of every step included")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.batch, arguments.max_len, arguments.vocab_size = 4, 32, 1000
        arguments.slices, arguments.slice_steps = 3, 2
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shakespeare.write(folder)
        if arguments.small:
            (folder / "corpus.txt").write_text((folder / "corpus.txt").read_text()[:100_000])
        tokenizer, tokens = folder / "tokenizer.safetensors", folder / "tokens.safetensors"
        nlpkit.tokenizer_train([folder / "corpus.txt"], tokenizer, kind="wordpiece", vocab_size=arguments.vocab_size)
        nlpkit.tokens([folder / "corpus.txt"], tokens, tokenizer=tokenizer, threads=1)
        for work in arguments.work:
            found = (finetuning(tokenizer, arguments, folder) if work == "finetune"
                     else pretraining(work, tokens, arguments, folder))  # fmt: skip
            results.append(found)
            if not arguments.json:
                show(found)
                sys.stdout.flush()
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "results": results}))
    if any(found.get("largest_difference_of_losses", 0) > 1e-3 for found in results):
        sys.exit("the losses of the two sides differ: they did not learn the same thing")


if __name__ == "__main__":
    main()
