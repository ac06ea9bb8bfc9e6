"""The peer of benchmarks/training.py: transformers' Trainer, with the settings of its example scripts.

run_mlm: DataCollatorForLanguageModeling masks 15 %; texts in blocks, or line by line and padded to the longest of the
batch. run_clm: blocks, labels are the tokens. run_glue: padded to the maximum, or dynamically, or batches of like
lengths. Fused AdamW, gradients clipped to 1, linear decay, attention by torch's fused kernel, as by default. Nothing is
logged. Examples are dictionaries of lists, encoded before; the scripts read them from Arrow files, which costs more.

For the first steps, which are not counted, the collator answers with our own masks, so that both sides read the same
and their losses must be equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from training_works import Ours, Work
from transformers import DataCollatorForLanguageModeling, DataCollatorWithPadding, Trainer, TrainingArguments

from nlpkit.base.seeds import Address
from nlpkit.exchange import huggingface

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def dropouts(architecture: str, rate: float) -> dict[str, float]:
    """Dropout as ours has it: of hidden states, and none of attention probabilities."""
    if architecture.startswith("GPT2"):
        return {"resid_pdrop": rate, "embd_pdrop": rate, "attn_pdrop": 0.0}
    return {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": 0.0}


def model_of(ours: Ours, folder: Path, dropout: float) -> Any:
    """transformers' own class with our weights; its tokenizer lies beside it."""
    architecture = huggingface.write(folder, ours.loaded, None)["architecture"]
    return getattr(transformers, architecture).from_pretrained(folder, **dropouts(architecture, dropout))


class Collator:
    """The example script's collator; our masks instead for the first ``same`` batches."""

    def __init__(self, work: Work, ours: Ours, tokenizer: Any, arguments: argparse.Namespace) -> None:
        self.work, self.ours, self.same = work, ours, arguments.same_steps if work.cut == "blocks" else 0
        self.made = 0
        self.usual: Callable[..., Any] = transformers.default_data_collator
        if work.kind == "mlm":
            self.usual = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        elif work.peer in ("dynamic", "grouped"):
            self.usual = DataCollatorWithPadding(tokenizer)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        self.made += 1
        if self.work.kind == "mlm" and self.made <= self.same:
            size = len(features)
            chosen = self.ours.order[(self.made - 1) * size : self.made * size]
            return masked(self.ours, chosen)
        found: dict[str, torch.Tensor] = self.usual(features)
        return found


def masked(ours: Ours, chosen: Any) -> dict[str, torch.Tensor]:
    """The sequences of these numbers, of one length, with our masks of the first epoch."""
    batch, target = ours.objective.corrupt(ours.data.make(chosen, 0), Address(0, ("objective", 0)))
    labels = torch.full_like(batch.tokens, -100)
    labels[target.fields["positions"]] = target.fields["labels"]
    rows = {
        "input_ids": batch.tokens,
        "attention_mask": torch.ones_like(batch.tokens),
        "labels": labels,
        "token_type_ids": torch.zeros_like(batch.tokens),
    }
    return {name: value.view(len(chosen), -1) for name, value in rows.items()}


def features(work: Work, ours: Ours, arguments: argparse.Namespace, count: int) -> list[dict[str, Any]]:
    """The first ``count`` examples of the order, again from its beginning when it ends, as the scripts prepare them."""
    found = []
    for number in np.resize(ours.order, count):
        batch = ours.example(int(number))
        ids = batch.tokens.tolist()
        item: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        if batch.segments is not None:
            item["token_type_ids"] = [0] * len(ids)
        if work.kind == "mlm":
            item["special_tokens_mask"] = batch.special.long().tolist()
        if work.kind == "clm":
            # No model predicts a first token, but the Trainer would count it among what it divides by.
            item["labels"] = [-100, *ids[1:]]
        if work.kind == "finetune":
            item["label"] = int(batch.labels["classify"][0])
        if work.peer == "padded":
            item = {
                name: value + [0] * (arguments.max_len - len(ids)) if isinstance(value, list) else value
                for name, value in item.items()
            }
        found.append(item)
    return found


class Measured(Trainer):
    """The Trainer, which also keeps its losses and counts the tokens that are not padding."""

    def begin(self, ended: Callable[[int, bool], None], plan: list[int]) -> None:
        """``ended`` hears the tokens of each slice, and whether it was the last; ``plan``: the steps of each."""
        self.ended, self.plan, self.losses, self.tokens, self.taken = ended, plan, [], 0, 0

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
        if self.taken == self.plan[0]:  # the last step's update belongs to the last slice
            self.close(False)
        self.tokens += int(inputs["attention_mask"].sum())
        loss = super().training_step(model, inputs, *rest, **named)
        self.losses.append(loss)
        self.taken += 1
        return loss

    def close(self, last: bool) -> None:
        tokens, self.tokens, self.taken = self.tokens, 0, 0
        del self.plan[0]
        self.ended(tokens, last)


def trainer(
    work: Work, ours: Ours, folder: Path, arguments: argparse.Namespace, steps: int, kind: type[Measured] = Measured
) -> Measured:
    """Ready to train for so many steps."""
    model = model_of(ours, folder, arguments.dropout)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.config._name_or_path)
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=arguments.batch,
        learning_rate=arguments.lr,
        weight_decay=0.01,
        lr_scheduler_type="linear",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        train_sampling_strategy={"blocks": "sequential", "grouped": "group_by_length"}.get(work.peer, "random"),
    )
    examples = features(work, ours, arguments, steps * arguments.batch)
    made = kind(
        model=model,
        args=settings,
        train_dataset=examples,
        processing_class=tokenizer,
        data_collator=Collator(work, ours, tokenizer, arguments),
    )
    made.remove_callback(transformers.PrinterCallback)
    return made
