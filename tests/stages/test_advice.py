"""What to try after a run that learnt too little: each suggestion is said where its finding is made, and only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import making
import pytest
import toys

import nlpkit
from nlpkit.stages.advice import Guess, Ran, Seen, suggestions

GUESS = Guess("classify", 1.0, "the labels' frequencies")
STUCK = (1.2, 1.1, 1.0, 1.0)
FELL = (1.2, 0.8, 0.5, 0.5)


def seen(losses: tuple[float, ...], *, steps: int = 1000, evaluations: tuple[float, ...] = ()) -> Seen:
    """A run that reported these losses, evenly, and these scores on dev."""
    heard = Seen()
    heard({"event": "training", "step": 0, "steps": steps})
    for number, loss in enumerate(losses, start=1):
        step = steps * number // len(losses)
        heard({"event": "step", "step": step, "loss": loss, "losses": {"classify": loss}})
    best = 0.0
    for number, score in enumerate(evaluations, start=1):
        step = steps * number // len(evaluations)
        heard({"event": "evaluation", "step": step, "metrics": {"accuracy": score}, "best": score > best})
        best = max(best, score)
    return heard


def ran(**more: Any) -> Ran:
    return Ran(**{"lr": 1e-3, "usual_lr": 1e-3, "budget": ("epochs", 3), **more})


BEFORE = {"embeddings": "random"}
FINDINGS: list[tuple[str, Ran, Seen, Ran, Seen]] = [  # what is said; a run where it is, and one where it is not
    ("rose from 0.5 to 0.7: try --lr 0.00033", ran(), seen((0.5, 0.7)), ran(), seen((0.7, 0.5))),
    ("guessing: try --lr 0.001", ran(lr=1e-5), seen(STUCK), ran(lr=1e-5), seen(FELL)),
    ("guessing: try --lr 0.001", ran(lr=0.1), seen(STUCK), ran(), seen(STUCK)),
    ("guessing: try --lr 0.00033", ran(), seen((1.2, 0.5, 1.0, 1.0)), ran(), seen(STUCK)),
    ("guessing: try --epochs 12", ran(), seen(STUCK, steps=100), ran(), seen(STUCK)),
    ("guessing: try --steps 400", ran(budget=("steps", 100)), seen(STUCK, steps=100), ran(), seen(STUCK)),
    ("guessing: try --epochs 6", ran(), seen((1.5, 1.4, 1.2, 1.1)), ran(), seen(STUCK)),
    ("guessing: try --lr 0.003", ran(), seen(STUCK), ran(), seen(STUCK, steps=100)),
    ("never trained: try nlpkit pretrain first", ran(trained=False), seen(STUCK), ran(), seen(STUCK)),
    (
        "no objective trained what pooling pooler reads: try --pooling mean",
        ran(pooling="pooler", usual_pooling="mean"),
        seen(FELL),
        ran(pooling="pooler", usual_pooling="pooler"),
        seen(FELL),
    ),
    ("getting better at the end: try --epochs 6", ran(), seen((1.2, 0.8, 0.5, 0.4)), ran(), seen(FELL)),
    ("it made 100 updates: try --epochs 12", ran(), seen(FELL, steps=100), ran(), seen(FELL)),
    (
        "getting better at the end: try --epochs 6",
        ran(),
        seen(FELL, evaluations=(0.1, 0.2, 0.3)),
        ran(),
        seen((1.2, 0.8, 0.5, 0.4), evaluations=(0.1, 0.3, 0.2)),
    ),
    (
        "the best evaluation was at step 250 of 1,000, those after it were no better: try --lr 0.00033",
        ran(),
        seen(FELL, evaluations=(0.3, 0.2, 0.2, 0.2)),
        ran(),
        seen(STUCK, evaluations=(0.3, 0.2, 0.2, 0.2)),
    ),
    (
        "40% of the tokens were cut: try --max-len 512",
        ran(cut=0.4, positions=512),
        seen(FELL),
        ran(cut=0.1),
        seen(FELL),
    ),
    ("cut: try a model that was pre-trained with a larger --max-len", ran(cut=0.4), seen(FELL), ran(), seen(FELL)),
    (
        "its embeddings began random: try --embeddings word2vec",
        ran(embeddings="random", usual_embeddings="word2vec"),
        seen(FELL),
        ran(embeddings="random", usual_embeddings="random"),  # too little text for word vectors
        seen(FELL),
    ),
    ("began random: try pretrain --embeddings", ran(before=BEFORE), seen(FELL), ran(), seen(FELL)),
    (
        "it was pre-trained for 300 updates: try more --epochs of pretrain",
        ran(before={"embeddings": "word2vec"}, updates_before=300),
        seen(FELL),
        ran(before={"embeddings": "word2vec"}, updates_before=4000),
        seen(FELL),
    ),
]


@pytest.mark.parametrize(("text", "run", "heard", "other", "other_heard"), FINDINGS)
def test_a_suggestion_follows_from_what_was_seen(
    text: str, run: Ran, heard: Seen, other: Ran, other_heard: Seen
) -> None:
    assert text in "; ".join(suggestions(run, heard, GUESS))
    assert text not in "; ".join(suggestions(other, other_heard, GUESS))


def test_single_reports_are_too_noisy_to_say_that_a_loss_stays() -> None:
    assert seen((2.0,)).falls and seen((2.0, 2.0, 2.0)).falls  # too few to say
    assert seen((2.4, 1.6, 1.1, 1.1)).falls and not seen((2.4, 1.1, 1.1, 1.1, 1.1)).falls


def test_a_run_in_which_nothing_was_found_is_told_nothing() -> None:
    assert suggestions(ran(), seen(FELL), GUESS) == [] == suggestions(ran(), seen(FELL), None)


def test_what_is_known_of_the_model_it_began_from(tmp_path: Path) -> None:
    """Fine-tuning reads how its model was pre-trained from that file's record."""
    tokens = making.token_file(tmp_path / "tokens.safetensors", documents=20)
    shape: dict[str, Any] = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 12}
    nlpkit.pretrain([tokens], tmp_path / "m.safetensors", steps=5, embeddings="random", **shape)
    train = toys.texts(tmp_path / "train.jsonl", 60)
    log = tmp_path / "log.jsonl"
    options: dict[str, Any] = {"dev": train, "steps": 4, "log": log, "force": True, "pooling": "pooler"}
    nlpkit.finetune(tmp_path / "m.safetensors", train, tmp_path / "c.safetensors", **options)
    notes = [json.loads(line) for line in log.read_text().splitlines()]
    (text,) = [item["text"] for item in notes if "bag_of_words" in item]
    assert "try --steps 400" in text and "pooling pooler reads: try --pooling mean" in text
