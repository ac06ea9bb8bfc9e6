"""Distilling a masked model beside the same recipe in Hugging Face's Trainer: a teacher at every step, and replayed.

The peer is the Trainer with a compute_loss that runs the teacher on the batch without gradients, as transformers' guide
to distillation does: 5 times the soft loss (temperature 2) at the masked words, and 2 times the hard one. Ours is the
same, and the same with --replay 32, whose soft loss knows less and is smaller. Both sides read the same text; in the
first steps the masks are the same too, and the losses must be equal. Nothing is dropped out, no hidden states are
compared. Seconds of processor time on one thread, a slice of each in turn, ratio median [least .. most]. What asking
the teacher once takes is measured, and runs of 1, 3 and 10 epochs are computed from it.

    python benchmarks/distillation.py             # a teacher of 12 x 768, a student of 4 x 256: five minutes
    python benchmarks/distillation.py --small     # 4 x 256 and 2 x 128
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
import training_peer
from torch.nn import functional as F
from training import train_ours, train_peer
from training_works import WORKS, Ours, build, write_text
from turns import Turns

from nlpkit.artifact.provenance import Run
from nlpkit.compression.objectives import LanguageDistillation
from nlpkit.compression.replay import replay
from nlpkit.models.base import Model
from nlpkit.models.load import Loaded, model_config
from nlpkit.models.sizes import config_for

WEIGHTS, TEMPERATURE, TOP = {"kl": 5.0, "hard": 2.0, "cos": 0.0}, 2.0, 32
WORK = WORKS["mlm-8k"]


class Distilling(training_peer.Measured):
    """The Trainer with a teacher."""

    teacher: Any

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> torch.Tensor:
        output = model(**inputs)
        with torch.no_grad():
            known = self.teacher(**{name: value for name, value in inputs.items() if name != "labels"}).logits
        asked = inputs["labels"] != -100
        student, teacher = output.logits[asked] / TEMPERATURE, known[asked] / TEMPERATURE
        soft = F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), log_target=True, reduction="batchmean")
        loss: torch.Tensor = WEIGHTS["kl"] * TEMPERATURE**2 * soft + WEIGHTS["hard"] * output.loss
        return loss


def teacher_of(student: Ours, size: str, arguments: argparse.Namespace) -> Model:
    torch.manual_seed(1)
    family, tokenizer = student.loaded.family, student.loaded.need_tokenizer()
    config = config_for(family, size, vocab_size=tokenizer.vocab_size, max_len=arguments.max_len, dropout=0.0)
    found: Model = family.build(config, ("mlm",)).eval()
    with torch.no_grad():  # told apart enough for something to be learnt
        found.embeddings.token.weight.mul_(4)
    return found


def compare(asks_once: bool, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One way of ours beside the peer."""
    student = build(WORK, folder, arguments)
    plan = [arguments.same_steps, *[1] * arguments.slices]
    student.data.lengths = student.data.lengths[: sum(plan) * arguments.batch]  # one epoch, all of which is read
    student = dataclasses.replace(student, order=np.concatenate(student.data.plan(0)))
    teacher = teacher_of(student, "mini" if arguments.small else arguments.teacher, arguments)
    objective = LanguageDistillation(teacher, student.objective, TEMPERATURE, WEIGHTS)
    there = folder / f"peer-{asks_once}"
    there.mkdir()
    made = training_peer.trainer(WORK, student, there, arguments, sum(plan), Distilling)
    loaded = Loaded(
        teacher, student.loaded.tokenizer, student.loaded.family, model_config(teacher, student.loaded.family), folder
    )
    (there / "teacher").mkdir()
    made.teacher = training_peer.model_of(dataclasses.replace(student, loaded=loaded), there / "teacher", 0.0).eval()
    asking, taught = 0.0, dataclasses.replace(student, objective=objective)
    if asks_once:
        run = Run.start("benchmark", {"output": there / "s.safetensors", "seed": 0, "replay": TOP}, inputs=())
        began = time.process_time()
        taught = dataclasses.replace(student, objective=replay(objective, student.data, run, device="cpu"))
        asking = (time.process_time() - began) / int(student.data.lengths.sum())
    turns = Turns(("ours", "peer"))
    with turns.beside(lambda: train_peer(made, turns, plan)) as losses:
        records = train_ours(taught, turns, plan, arguments, folder)
    costs = {side: [item.seconds / item.tokens for item in found[1:]] for side, found in turns.slices.items()}
    ratios = [theirs / ours for ours, theirs in zip(costs["ours"], costs["peer"], strict=True)]
    apart = max(
        abs(record["loss"] - loss) for record, loss in zip(records[: arguments.same_steps], losses, strict=False)
    )
    return {"ratios": ratios, "apart": apart, "asking": asking} | {side: median(found) for side, found in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=4, help="slices of each side, a step each (default: 4)")
    parser.add_argument("--same-steps", type=int, default=2, help="steps before, with equal masks (default: 2)")
    parser.add_argument("--teacher", default="base", help="the teacher (default: base, 12 layers x 768)")
    parser.add_argument("--size", default="mini", help="the student (default: mini, 4 layers x 256)")
    parser.add_argument("--batch", type=int, default=16, help="sequences in a batch (default: 16)")
    parser.add_argument("--max-len", type=int, default=128, help="tokens in a sequence (default: 128)")
    parser.add_argument("--lr", type=float, default=2e-4, help="first learning rate (default: 2e-4)")
    parser.add_argument("--small", action="store_true", help="smaller models, text and batch")
    arguments = parser.parse_args()
    arguments.dropout = 0.0
    if arguments.small:
        arguments.batch, arguments.max_len = 4, 32
    torch.set_num_threads(1)
    print("| distillation | ratio | losses apart |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder, arguments)
        online, replayed = (compare(once, folder, arguments) for once in (False, True))
    for title, found in (
        ("teacher at every step", online),
        (f"replayed, an epoch after the first, K = {TOP}", replayed),
    ):
        low, high = min(found["ratios"]), max(found["ratios"])
        apart = f"{found['apart']:.1g}" if found is online else "another loss"
        print(f"| {title} | {median(found['ratios']):.2f} [{low:.2f} .. {high:.2f}] | {apart} |")
    for epochs in (1, 3, 10):
        whole = epochs * replayed["peer"] / (replayed["asking"] + epochs * replayed["ours"])
        print(f"| replayed, {epochs} epoch{'s' * (epochs > 1)} with the asking | {whole:.2f} | |")
    if online["apart"] > 1e-3:
        sys.exit("the losses of the two sides differ: they did not learn the same thing")


if __name__ == "__main__":
    main()
