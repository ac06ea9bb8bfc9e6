"""Evaluation of a classifier on labelled examples: with intervals, baselines, and a comparison to a second model.

Shapes: n examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.base import contents, events
from nlpkit.base.errors import UserError, refuse
from nlpkit.data import labelled
from nlpkit.data.labelled import Examples
from nlpkit.evaluation import baselines
from nlpkit.evaluation.checks import LANGUAGE, requested_names
from nlpkit.evaluation.describe import sha256, timed
from nlpkit.measure import intervals, metrics
from nlpkit.models.load import Loaded
from nlpkit.tasks.base import Scores
from nlpkit.tasks.classify import Classify, losses
from nlpkit.tasks.reading import encode, labeller
from nlpkit.tasks.scoring import score
from nlpkit.tasks.sequences import Encoder

Classes = NDArray[np.int64]


def names(loaded: Loaded) -> list[str]:
    """Every metric that may be measured. Errors: a model without labels."""
    labeller(loaded, {})
    return [*metrics.METRICS, "loss", *(f"f1.{label}" for label in loaded.config["task"]["labels"])]


def check_metrics(loaded: Loaded, data: Path, options: Mapping[str, Any]) -> None:
    """Errors: a bound on a language model's metric."""
    for name in requested_names(options):
        if name in LANGUAGE:
            raise UserError(
                f"is a classifier, so {name} cannot be measured",
                where=loaded.path,
                hint=f"its metrics: {', '.join(names(loaded))}; {name} is of a language model",
            )


def evaluate(loaded: Loaded, data: Path, other: Loaded | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a classifier on a labelled file. Errors: those of `labelled.read`; no labels, an unknown label."""
    if contents.holds_tensors(data):
        raise UserError(
            f"is a {file.read(data).kind} file, and the model a classifier",
            where=data,
            hint="give a labelled file, or measure the model before it was fine-tuned",
        )
    refuse({name: options[name] for name in ("stride", "cut", "mask_ratio", "mask_mix")}, "the model is a classifier")
    task, encoder = labeller(loaded, options)
    rival = None if other is None else _rival(other, task, options)
    columns = {
        "text": task.text,
        "pair": task.pair,
        "label": task.label,
        "on_error": options["on_error"],
        "format": options["format"],
    }
    examples = labelled.read(data, **columns)
    truth = task.classes(examples)
    train = None if options["train"] is None else labelled.read(options["train"], **columns)
    train_classes = None if train is None else task.classes(train)
    drawing = Drawing(options["seed"], options["resamples"])
    scores, speed = _scores(loaded, task, encoder, examples, options, "evaluate")
    result: dict[str, Any] = {
        "task": task.name,
        "data": {"name": data.name, "sha256": sha256(data), "examples": len(truth)},
        "settings": {
            "seed": drawing.seed,
            "resamples": drawing.resamples,
            "level": intervals.LEVEL,
            "max_len": encoder.max_len,
        },
        **measure(task, truth, scores, drawing),
        "speed": {"model": speed},
    }
    if train is not None and train_classes is not None:
        guesses = baseline_guesses(train, train_classes, examples)
        result["baselines"] = {name: baseline(task, truth, guess, drawing) for name, guess in guesses.items()}
        result["over_baselines"] = {
            name: {"accuracy": gain(truth, scores.argmax(1), guess, drawing)} for name, guess in guesses.items()
        }
    if other is not None and rival is not None:
        theirs, result["speed"]["against"] = _scores(other, *rival, examples, options, "against")
        theirs = theirs[:, [rival[0].labels.index(label) for label in task.labels]]
        result["against"] = {"metrics": measure(task, truth, theirs, drawing)["metrics"]}
        result["difference"] = compare(task, truth, scores, theirs, drawing)
    return result


def _scores(
    loaded: Loaded, task: Classify, encoder: Encoder, examples: Examples, options: Mapping[str, Any], name: str
) -> tuple[Scores, dict[str, float]]:
    """Scores [n, C], and the speed."""
    sequences = encode(task, examples, encoder, loaded.path.name)
    loaded.model.to(options["device"])

    def work() -> Scores:
        return score(
            loaded.model,
            task,
            sequences,
            batch_tokens=options["batch_tokens"],
            device=options["device"],
            progress=lambda done: events.emit("progress", label=name, done=done, total=len(sequences), unit="examples"),
        )

    return timed(work, len(sequences))


def _rival(other: Loaded, task: Classify, options: Mapping[str, Any]) -> tuple[Classify, Encoder]:
    """Task and encoder of the second model, with the same columns, and max_len if set. Errors: other labels."""
    if set((other.config.get("task") or {}).get("labels", ())) != set(task.labels):
        raise UserError(
            "does not have the same labels, so it cannot be compared",
            where=other.path,
            hint=f"the first model's: {', '.join(task.labels)}",
        )
    columns = {"text": task.text, "pair": task.pair, "label": task.label}
    return labeller(other, {**columns, "max_len": options["max_len"]})


@dataclass(frozen=True)
class Drawing:
    """The settings of the bootstrap."""

    seed: int
    resamples: int


def measure(task: Classify, truth: Classes, scores: Scores, drawing: Drawing) -> dict[str, Any]:
    """``metrics``, each with value, low and high, and the ``confusion`` matrix, rows truth. Shapes: [n], [n, C]."""
    counts = metrics.confusion(truth, scores.argmax(1), len(task.labels))
    values = metrics.measure(counts, task.labels, seed=drawing.seed, resamples=drawing.resamples)
    values["loss"] = intervals.mean(losses(scores, truth), seed=drawing.seed, resamples=drawing.resamples)
    return {
        "metrics": {name: value.to_json() for name, value in values.items()},
        "confusion": {"labels": list(task.labels), "counts": counts.tolist()},
    }


def compare(task: Classify, truth: Classes, student: Scores, teacher: Scores, drawing: Drawing) -> dict[str, Any]:
    """Student minus teacher, on the same resamples; and how often they agree. Shapes: [n], [n, C] twice."""
    values = metrics.compare(
        truth, student.argmax(1), teacher.argmax(1), len(task.labels), seed=drawing.seed, resamples=drawing.resamples
    )
    values["loss"] = intervals.mean(
        losses(student, truth) - losses(teacher, truth), seed=drawing.seed, resamples=drawing.resamples
    )
    return {name: value.to_json() for name, value in values.items()}


def baseline_guesses(train: Examples, classes: Classes, test: Examples) -> dict[str, Classes]:
    """The baselines' guesses; both are trained on ``train`` and its ``classes``. A pair is joined to one text."""
    return {
        "majority": baselines.majority(classes, len(test)),
        "bag_of_words": baselines.bag_of_words(train.words, classes, test.words),
    }


def baseline(task: Classify, truth: Classes, guess: Classes, drawing: Drawing) -> dict[str, Any]:
    """A baseline's metrics."""
    counts = metrics.confusion(truth, guess, len(task.labels))
    values = metrics.measure(counts, task.labels, seed=drawing.seed, resamples=drawing.resamples)
    return {metric: value.to_json() for metric, value in values.items()}


def gain(truth: Classes, guess: Classes, other: Classes, drawing: Drawing) -> dict[str, Any]:
    """The accuracy of the model's guesses minus that of others, on the same resamples."""
    differences = (guess == truth).astype(np.float64) - (other == truth)
    return intervals.mean(differences, seed=drawing.seed, resamples=drawing.resamples).to_json()
