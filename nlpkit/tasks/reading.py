"""How a model reads a task's examples: its task, its longest sequence, its framing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpkit import tasks
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.data.framing import framing
from nlpkit.data.labelled import Examples
from nlpkit.models.load import Loaded
from nlpkit.tasks.base import Task
from nlpkit.tasks.classify import Classify
from nlpkit.tasks.sequences import Encoder, Sequences


def encoder_of(loaded: Loaded, max_len: int | None) -> Encoder:
    """What turns texts into this model's sequences."""
    tokenizer = loaded.need_tokenizer()
    return Encoder(tokenizer, framing(loaded.family.framing, tokenizer), loaded.length(max_len))


def reader(loaded: Loaded, options: Mapping[str, Any]) -> tuple[Task, Encoder]:
    """The task of a fine-tuned model, and its encoder. ``options`` text, pair, label and max_len override, where they
    are there and not None, what it was taught with. Errors: a model without a classifier."""
    kept = loaded.config.get("task")
    if not kept:
        raise UserError(
            "has no classifier: it was pre-trained, but not fine-tuned",
            where=loaded.path,
            hint=f"nlpkit finetune {loaded.path.name} train.jsonl -o classifier.safetensors",
        )
    given = {name: options[name] for name in ("text", "pair", "label") if options.get(name)}
    try:
        task = tasks.restored({**kept, **given})
    except UserError as error:
        raise UserError(error.what, where=error.where or loaded.path, hint=error.hint) from None
    return task, encoder_of(loaded, options.get("max_len") or kept.get("max_len"))


def labeller(loaded: Loaded, options: Mapping[str, Any]) -> tuple[Classify, Encoder]:
    """As `reader`, for what needs labels. Errors: a model that answers something else, such as one number."""
    task, encoder = reader(loaded, options)
    if type(task) is not Classify:
        raise UserError(
            f"has a head for {task.name}, which knows no labels",
            where=loaded.path,
            hint="nlpkit predict prints its answers",
        )
    return task, encoder


def encode(task: Task, examples: Examples, encoder: Encoder, name: str) -> Sequences:
    """The task's sequences; what was cut is said."""
    sequences = task.encode(examples, encoder)
    if sequences.truncated:
        events.note(
            f"{name}: {sequences.truncated:,} of {len(sequences):,} examples are longer than "
            f"{encoder.max_len} tokens and were cut"
        )
    return sequences
