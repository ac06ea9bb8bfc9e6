"""vectors train is stopped and started again, and keeps the weights of the lowest loss."""

import signal

import numpy as np
import pytest

from nlpkit.artifact import file, resume
from nlpkit.base import events
from nlpkit.base.errors import Interrupted, UserError
from nlpkit.cli import app
from nlpkit.stages import vectors_train as module
from nlpkit.stages.vectors_train import train
from nlpkit.vectors.file import load
from nlpkit.vectors.word2vec.learner import Learner

TOPICS = ("bread butter cheese flour oven yeast".split(), "anchor harbour keel mast rudder sail".split())
SMALL = {"dim": 8, "sample": 0.0, "lr": 0.1}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A corpus whose sentences have one topic, and text whose sentences mix them: what is learnt makes it worse there.
    A round is 1,024 words, an epoch of the corpus ten."""
    rng, here = np.random.default_rng(0), tmp_path_factory.mktemp("texts")
    corpus = [" ".join(rng.choice(TOPICS[number % 2], 10)) for number in range(1000)]
    mixed = [" ".join(rng.choice(TOPICS[0], 5)) + " " + " ".join(rng.choice(TOPICS[1], 5)) for _ in range(50)]
    for name, lines in (("corpus", corpus), ("mixed", mixed), ("like", corpus[:50])):
        (here / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return here


@pytest.fixture
def rounds(monkeypatch):
    """One round at a time, so that a run of some epochs can be stopped anywhere."""
    monkeypatch.setattr(module, "_ROUNDS", 1)


def losses_of(call):
    heard = []
    with events.listen(heard.append):
        summary = call()
    return summary, [event["loss"] for event in heard if event["event"] == "note" and "loss" in event]


def stopped(corpus, target, after, **options):
    """Run until so many rounds are learnt, then get the signal of Ctrl-C."""
    learn, done = Learner.train, []

    def counted(learner, *given):
        learn(learner, *given)
        done.append(0)
        if len(done) == after:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "train", counted)
        with pytest.raises(Interrupted, match="interrupted in epoch") as caught:
            train(corpus, target, **options)
    assert caught.value.hint == "the same command again goes on from here"


@pytest.mark.parametrize("after", [1, 7, 10, 19])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "cbow", "loss": "hs"},
        {"loss": "nce"},
        {"subwords": "2-4", "buckets": 300},
        {"patience": 2},
    ],
    ids=str,
)
def test_a_stopped_run_goes_on_to_the_same_bytes(texts, rounds, tmp_path, options, after):
    """In the middle of an epoch, at its end, and one round before the end of all; the loss is the same too."""
    options = {**SMALL, **options, "epochs": 4, "seed": 5}
    if "patience" in options:
        options["dev"] = texts / "mixed.txt"
        after = min(after, 14)  # it ends after three epochs
    corpus = texts / "corpus.txt"
    whole, _ = losses_of(lambda: train(corpus, tmp_path / "whole", threads=1, **options))
    stopped(corpus, tmp_path / "vec", after, threads=2, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "vec.resume"}
    heard = []
    with events.listen(heard.append):
        again = train(corpus, tmp_path / "vec", threads=3, **options)
    assert (again["sha256"], again["loss"]) == (whole["sha256"], whole["loss"])
    assert any(event.get("text", "").startswith("resuming vec in epoch") for event in heard)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "vec"}


def test_control_c_says_how_to_go_on(texts, rounds, tmp_path, monkeypatch, capsys):
    learn = Learner.train

    def interrupting(learner, *given):
        learn(learner, *given)
        signal.raise_signal(signal.SIGINT)

    command = ["vectors", "train", str(texts / "corpus.txt"), "-o", str(tmp_path / "vec"), "--dim", "8"]
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train", interrupting)
        assert app.run(command) == 130
    said = capsys.readouterr().err
    assert "vec: interrupted in epoch 1 of 5" in said and "the same command again goes on from here" in said
    assert app.run(command) == 0
    assert "resuming vec in epoch 1 of 5" in capsys.readouterr().err


def test_another_commands_state_is_refused_and_fresh_starts_over(texts, rounds, tmp_path):
    corpus = texts / "corpus.txt"
    stopped(corpus, tmp_path / "vec", 7, epochs=3, **SMALL)
    with pytest.raises(UserError, match=r"another command lies here: dim was 8, is 9; window was 5, is 2"):
        train(corpus, tmp_path / "vec", epochs=3, **{**SMALL, "dim": 9}, window=2)
    fresh = train(corpus, tmp_path / "vec", fresh=True, epochs=3, **SMALL)
    assert fresh["sha256"] == train(corpus, tmp_path / "whole", epochs=3, **SMALL)["sha256"]


def test_states_are_saved_as_often_as_asked(texts, rounds, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(resume, "save", lambda run, arrays, config: saved.append((config["epoch"], config["round"])))
    train(texts / "corpus.txt", tmp_path / "a", epochs=7, save_every=2, **SMALL)
    assert saved == [(3, 0), (5, 0), (7, 0)]
    saved.clear()
    train(texts / "corpus.txt", tmp_path / "b", epochs=2, **SMALL)
    assert saved == []
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    train(texts / "corpus.txt", tmp_path / "c", epochs=2, **SMALL)
    assert saved == [(1, number) for number in range(1, 10)] + [(2, number) for number in range(10)]


def test_patience_stops_and_keeps_the_best_epoch(texts, tmp_path, monkeypatch):
    learn, at = Learner.train, []

    def remembering(learner, *given):
        learn(learner, *given)
        at.append(learner.weights().vectors.copy())  # an epoch is one call

    monkeypatch.setattr(Learner, "train", remembering)
    asked = {"epochs": 20, "dev": texts / "mixed.txt", **SMALL}
    summary, losses = losses_of(lambda: train(texts / "corpus.txt", tmp_path / "vec", patience=3, **asked))
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 20
    assert losses[-1] > losses[best] == summary["loss"]
    np.testing.assert_array_equal(load(tmp_path / "vec").vectors, at[best])
    assert not np.array_equal(at[best], at[-1])
    assert file.read(tmp_path / "vec", kind="vectors").provenance["options"]["patience"] == 3


def test_other_text_changes_the_loss_and_nothing_else(texts, tmp_path):
    found = {}
    for name in (None, "mixed", "like"):
        dev = name and texts / f"{name}.txt"
        summary, losses = losses_of(
            lambda dev=dev, name=name: train(texts / "corpus.txt", tmp_path / str(name), epochs=3, dev=dev, **SMALL)
        )
        assert losses[-1] == summary["loss"]  # without --patience the last weights are kept
        found[name] = losses
    assert found["mixed"][-1] > found["like"][-1] + 1 and found["mixed"] != found["like"] != found[None]
    first, *others = (file.read(tmp_path / str(name), kind="vectors") for name in found)
    for other in others:
        for tensor in first.tensors:
            np.testing.assert_array_equal(first.array(tensor), other.array(tensor))
    roles = [given["role"] for given in file.read(tmp_path / "mixed", kind="vectors").provenance["inputs"]]
    assert roles == ["corpus", "dev"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 2}, "--patience changes nothing: nothing is measured on other text"),
        ({"buckets": 100}, "--buckets changes nothing: vectors are not made of n-grams"),
        ({"divide": True}, "--divide changes nothing: skipgram has one word before each prediction"),
        ({"divide": False}, "--divide changes nothing: skipgram"),
        ({"method": "cbow", "average": False, "divide": True}, "--divide changes nothing: the gradient of a sum"),
        ({"loss": "hs", "noise_exponent": 0.5}, "--noise-exponent changes nothing: loss hs draws no negatives"),
        ({"noise_exponent": float("inf")}, "noise-exponent is inf"),
        ({"save_every": 0}, "save-every is 0"),
        ({"patience": 0, "dev": "mixed"}, "patience is 0, expected at least 1"),
        ({"dev": "alone"}, "alone.txt: holds no two known words side by side"),
        ({"dev": "unknown"}, "unknown.txt: 0 of its words are in the vocabulary"),
        ({"dev": "none"}, "none.txt: no such file"),
    ],
)
def test_what_would_change_nothing_is_refused(texts, tmp_path, options, message):
    (tmp_path / "alone.txt").write_text("bread\n\nsail\n\nkeel\n" * 5)
    (tmp_path / "unknown.txt").write_text("nobody knows these\n")
    if "dev" in options:
        folder = texts if options["dev"] == "mixed" else tmp_path
        options = {**options, "dev": folder / f"{options['dev']}.txt"}
    with pytest.raises(UserError, match=message):
        train(texts / "corpus.txt", tmp_path / "vec", dim=8, **options)
    assert not [path for path in tmp_path.iterdir() if "vec" in path.name]


def test_the_lowest_loss_costs_memory_and_a_plan_says_so(texts, tmp_path):
    asked = {"dry_run": True, "dev": texts / "mixed.txt", **SMALL}
    plain = train(texts / "corpus.txt", tmp_path / "vec", **asked)
    best = train(texts / "corpus.txt", tmp_path / "vec", patience=1, **asked)
    assert best["memory_bytes"] - plain["memory_bytes"] == 4 * plain["parameters"] == 4 * 2 * 12 * 8
