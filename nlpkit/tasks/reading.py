"""The task and the encoder of a fine-tuned model: labels, longest sequence, special tokens."""

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
    """The encoder of texts as this model's sequences."""
    tokenizer = loaded.need_tokenizer()
    frame, positions = framing(loaded.family.framing, tokenizer), int(loaded.model.config.max_len)
    return Encoder(tokenizer, frame, loaded.length(max_len), positions)


def reader(loaded: Loaded, options: Mapping[str, Any]) -> tuple[Task, Encoder]:
    """The task of a fine-tuned model, and its encoder. The ``options`` text, pair, label and max_len, where present and
    not None, override those of its fine-tuning. Errors: a model without a classifier."""
    config = loaded.config.get("task")
    if not config:
        raise UserError(
            "has no classifier: it was pre-trained, but not fine-tuned",
            where=loaded.path,
            hint=f"nlpkit finetune {loaded.path.name} train.jsonl -o classifier.safetensors",
        )
    overrides = {name: options[name] for name in ("text", "pair", "label") if options.get(name)}
    try:
        task = tasks.restored({**config, **overrides})
    except UserError as error:
        raise UserError(error.what, where=error.where or loaded.path, hint=error.hint) from None
    return task, encoder_of(loaded, options.get("max_len") or config.get("max_len"))


def labeller(loaded: Loaded, options: Mapping[str, Any]) -> tuple[Classify, Encoder]:
    """As `reader`, for commands that need labels. Errors: a model with another task, such as a score."""
    task, encoder = reader(loaded, options)
    if type(task) is not Classify:
        raise UserError(
            f"has a head for {task.name}, which has no labels",
            where=loaded.path,
            hint="nlpkit predict prints its output",
        )
    return task, encoder


def encode(task: Task, examples: Examples, encoder: Encoder, name: str) -> Sequences:
    """The task's sequences; a note counts the examples that were cut."""
    sequences = task.encode(examples, encoder)
    if sequences.cut.texts:
        events.note(f"{name}: {encoder.said(sequences.cut, 'example')}")
    return sequences
