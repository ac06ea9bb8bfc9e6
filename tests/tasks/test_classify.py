"""Classification as a task: labels, sequences, pooling, loss, decoding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data import labelled
from nlpkit.data.framing import DECODER, ENCODER, Template, framing
from nlpkit.exchange.opening import load
from nlpkit.tasks import TASKS, classify, kind
from nlpkit.tasks.classify import Classify, losses
from nlpkit.tasks.pooling import POOLINGS
from nlpkit.tasks.scoring import score
from nlpkit.tasks.sequences import Encoder

OPTIONS = {"pooling": "pooler", "text": "text", "pair": None, "label": "label", "max_len": 24}


def examples(path: Path, rows: list[dict]) -> labelled.Examples:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return labelled.read(path)


def encoder(style: Template = ENCODER, max_len: int = 24) -> Encoder:
    made = toys.tokenizer()
    return Encoder(made, framing(style, made), max_len)


def test_labels_are_sorted_and_survive_the_file(tmp_path: Path) -> None:
    given = examples(tmp_path / "a.jsonl", [{"text": "x", "label": name} for name in ("b", "a", "c", "a")])
    task = classify.learn(given, OPTIONS)
    assert task.labels == ("a", "b", "c")
    assert task.classes(given).tolist() == [1, 0, 2, 0]
    assert classify.restore(json.loads(json.dumps(task.to_json()))) == task
    assert classify.restore({"name": "classify", "labels": ["a", "b"], "of another tool": 1}).labels == ("a", "b")


def test_an_unknown_label_names_its_line_and_the_valid_ones(tmp_path: Path) -> None:
    task = Classify(("comedy", "history"))
    given = examples(tmp_path / "dev.jsonl", [{"text": "x", "label": "comedy"}, {"text": "y", "label": "comdy"}])
    with pytest.raises(UserError) as caught:
        task.encode(given, encoder())
    assert str(caught.value.where).endswith("dev.jsonl:2")
    assert 'did you mean "comedy"' in caught.value.what
    assert caught.value.hint == "valid: comedy, history"


def test_one_label_is_not_enough(tmp_path: Path) -> None:
    given = examples(tmp_path / "a.jsonl", [{"text": "x", "label": "a"}])
    with pytest.raises(UserError, match='one label, "a"; a classifier needs at least two'):
        classify.learn(given, OPTIONS)


@pytest.mark.parametrize(("style", "framed"), [(ENCODER, "C the king S horse S"), (DECODER, "the king S horse S")])
def test_pairs_are_framed_as_the_family_wants(style: Template, framed: str) -> None:
    made = encoder(style)
    names = {"C": made.tokenizer.role("cls"), "S": made.tokenizer.role("sep"), **made.tokenizer.ids}
    found = made.encode(["the king"], ["horse"])
    batch = found.batch(np.array([0]))
    assert batch.tokens.tolist() == [names[word] for word in framed.split()]
    if style.segments:
        assert batch.segments is not None and batch.segments.tolist() == [0, 0, 0, 0, 1, 1]
    else:
        assert batch.segments is None


def test_long_texts_are_cut_and_counted() -> None:
    found = encoder(max_len=8).encode(["the king"] * 2 + ["the " * 30], None)
    assert found.lengths.tolist() == [4, 4, 8]
    assert found.cut.texts == 1
    both = encoder(max_len=9).encode(["the " * 30], ["king horse"])
    assert both.lengths.tolist() == [9] and both.framed[0].segments.tolist() == [0] * 6 + [1] * 3


def test_poolings_are_what_their_names_say(tmp_path: Path) -> None:
    model = load(toys.model(tmp_path / "m.safetensors")).model
    batch = encoder().encode(["the king", "of france goes out", "horse"], None).batch(np.array([1, 0, 2]))
    output = model(batch)
    parts = output.hidden.split(list(batch.packing.lengths))
    known = {
        "cls": [part[0] for part in parts],
        "last": [part[-1] for part in parts],
        "mean": [part.mean(0) for part in parts],
        "max": [part.max(0).values for part in parts],
    }
    for name, rows in known.items():
        assert torch.allclose(POOLINGS[name](output), torch.stack(rows), atol=1e-6), name
    assert POOLINGS["pooler"](output) is output.pooled


def test_loss_is_the_sum_of_the_cross_entropies(tmp_path: Path) -> None:
    task = Classify(("a", "b"))
    network = load(toys.model(tmp_path / "m.safetensors")).model
    from nlpkit.models.load import add_classifier

    add_classifier(network, 2)
    network.heads["classify"].weight.data.normal_(generator=torch.Generator().manual_seed(0))
    given = examples(tmp_path / "a.jsonl", [{"text": "king " * n, "label": "ab"[n % 2]} for n in range(1, 6)])
    sequences = task.encode(given, encoder())
    batch, target = task.corrupt(sequences.batch(np.arange(5)), Address(0))
    output = network.eval()(batch)
    known = torch.nn.functional.cross_entropy(task.scores(output), torch.tensor([1, 0, 1, 0, 1]), reduction="sum")
    assert target.counts == {"classify": 5}
    assert task.loss(output, target)["classify"].item() == pytest.approx(known.item(), rel=1e-6)
    scores = score(network, task, sequences)
    assert losses(scores, task.classes(given)).sum() == pytest.approx(known.item(), rel=1e-6)
    assert task.quick(scores, sequences)["loss"] == pytest.approx(known.item() / 5, rel=1e-6)


def test_decoding_gives_probabilities_and_the_largest(tmp_path: Path) -> None:
    found = Classify(("a", "b")).decode(np.array([[0.0, np.log(3.0)], [1000.0, -1000.0]]))
    assert found == [
        {"label": "b", "probabilities": {"a": 0.25, "b": 0.75}},
        {"label": "a", "probabilities": {"a": 1.0, "b": 0.0}},
    ]


def test_scores_have_the_same_bits_whatever_shares_the_batch(tmp_path: Path) -> None:
    task = Classify(("a", "b", "c"))
    network = load(toys.model(tmp_path / "m.safetensors")).model
    from nlpkit.models.load import add_classifier

    add_classifier(network, 3)
    rng = np.random.default_rng(0)
    sequences = encoder().encode([toys.sentence(rng) for _ in range(40)], None)
    whole = score(network, task, sequences)
    assert (score(network, task, sequences, batch_tokens=1) == whole).all()
    assert (score(network, task, sequences, batch_tokens=57) == whole).all()


def test_every_task_of_the_table_describes_itself() -> None:
    for name in TASKS:
        found = kind(name)
        assert found.name == name and found.title and found.paper and found.metrics
    with pytest.raises(UserError, match='did you mean "classify"'):
        kind("clasify")
