"""nlpkit vectors train: it learns, and it gives the same bytes."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.base import events
from nlpkit.base.errors import RunError, UserError
from nlpkit.cli import app
from nlpkit.stages.vectors_train import train
from nlpkit.vectors.file import load
from nlpkit.vectors.queries.query import nearest
from nlpkit.vectors.word2vec.learner import Learner

TOPICS = ("bread butter cheese flour oven yeast", "anchor harbour keel mast rudder sail")
GLUE = ["the", "of", "and", "a", "in", "to"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences about one of two topics, with words between that know neither; counts tie often."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    lines = []
    for number in range(1500):
        topic = TOPICS[number % 2].split()
        words = [str(rng.choice(topic if rng.random() < 0.6 else GLUE)) for _ in range(10)]
        lines.append(" ".join(words).capitalize() + ".")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["ns", "hs"])
def test_topics_are_learnt_through_the_command_line(corpus, tmp_path, capsys, method, loss):
    output = tmp_path / "vec.safetensors"
    arguments = ["--method", method, "--loss", loss, "--dim", "16", "--epochs", "10", "--sample", "0", "--lr", "0.05"]
    assert app.run(["vectors", "train", str(corpus), "-o", str(output), *arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kind"] == "vectors" and summary["vocab_size"] == 18 and summary["words"] == 15_000
    for topic in TOPICS:
        words = topic.split()
        for found in nearest(output, words, k=5)["nearest"]:
            assert {near["word"] for near in found["words"]} == set(words) - {found["word"]}


def test_the_loss_falls_and_is_told(corpus, tmp_path):
    for method in ("skipgram", "cbow"):
        for loss in ("ns", "hs"):
            heard = []
            with events.listen(heard.append):
                summary = train([corpus], tmp_path / f"{method}.{loss}", method=method, loss=loss, dim=8, sample=0.0)
            losses = [event["loss"] for event in heard if "loss" in event]
            assert len(losses) == 5 and losses[-1] < losses[0] and losses[-1] == summary["loss"]
            done = [event for event in heard if event["event"] == "progress" and event["label"].startswith("epoch")]
            assert done[-1]["done"] == done[-1]["total"] == 5 * 15_000


def test_the_file_holds_everything(corpus, tmp_path):
    train(corpus, tmp_path / "ns", dim=8, epochs=1, negative=3)
    train(corpus, tmp_path / "hs", dim=8, epochs=1, loss="hs", method="cbow")
    ns, hs = file.read(tmp_path / "ns", kind="vectors"), file.read(tmp_path / "hs", kind="vectors")
    assert {name: ns.array(name).shape for name in ns.tensors} == {
        "vectors": (18, 8),
        "context": (18, 8),
        "counts": (18,),
    }
    assert {name: hs.array(name).shape for name in hs.tensors} == {
        "vectors": (18, 8),
        "nodes": (17, 8),
        "counts": (18,),
    }
    assert ns.config["negative"] == 3 and "average" not in ns.config
    assert hs.config["average"] is True and "negative" not in hs.config
    opened = load(tmp_path / "ns")
    order = sorted(range(18), key=lambda row: (-opened.counts[row], opened.words[row]))
    assert order == list(range(18))
    assert set(opened.words) == {*" ".join(TOPICS).split(), *GLUE}
    assert ns.provenance["command"] == "vectors train" and ns.provenance["versions"]["numba"]


def sha_in_a_process(arguments, hash_seed, before=""):
    code = f"import sys{before}; from nlpkit.cli.app import run; sys.exit(run(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["sha256"]


@pytest.mark.parametrize(("method", "loss"), [("skipgram", "ns"), pytest.param("cbow", "hs", marks=pytest.mark.slow)])
def test_same_bytes_in_every_process(corpus, tmp_path, method, loss):
    """Whatever the hash seed, the threads, the folder, and what else the process has imported."""
    base = [
        "vectors",
        "train",
        str(corpus),
        *"--json --dim 8 --epochs 1 --method".split(),
        method,
        "--loss",
        loss,
    ]
    shas = set()
    for number, (threads, before) in enumerate([("1", ""), ("2", ""), ("3", ", torch")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        arguments = [*base, "-o", str(folder / f"{number}.safetensors"), "--threads", threads]
        shas.add(sha_in_a_process(arguments, str(number * 1000), before))
    assert len(shas) == 1


def test_the_seed_changes_the_bytes(corpus, tmp_path):
    train(corpus, tmp_path / "a", dim=8, epochs=1, seed=0)
    train(corpus, tmp_path / "b", dim=8, epochs=1, seed=1)
    assert load(tmp_path / "a").vectors.tobytes() != load(tmp_path / "b").vectors.tobytes()


def test_a_dry_run_counts_and_touches_nothing(corpus, tmp_path):
    plan = train(corpus, tmp_path / "vec", dim=8, dry_run=True)
    assert plan["vocab_size"] == 18 and plan["parameters"] == 2 * 18 * 8 and plan["words"] == 15_000
    assert train(corpus, tmp_path / "vec", dim=8, loss="hs", dry_run=True)["parameters"] == 35 * 8
    assert list(tmp_path.iterdir()) == []


def test_stdin_and_columns(corpus, tmp_path, monkeypatch):
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for line in corpus.read_text("utf-8").splitlines():
            out.write(json.dumps({"id": 1, "speech": line}) + "\n")
    train(path, tmp_path / "vec", dim=4, epochs=1, field="speech")
    train(corpus, tmp_path / "txt", dim=4, epochs=1)
    np.testing.assert_array_equal(load(tmp_path / "vec").vectors, load(tmp_path / "txt").vectors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "fasttext"}, 'method "fasttext" is unknown'),
        ({"method": "skip-gram"}, 'did you mean "skipgram"'),
        ({"loss": "softmax"}, 'loss "softmax" is unknown'),
        ({"dim": 0}, "dim is 0, expected at least 1"),
        ({"window": 0}, "window is 0"),
        ({"window": 10_001}, "window is 10001, expected at most 10,000"),
        ({"negative": 0}, "negative is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"loss": "hs", "negative": 5}, "--negative changes nothing: loss hs draws no negatives"),
        ({"average": False}, "--average changes nothing: skipgram"),
        ({"sample": -1.0}, "sample is -1.0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"min_count": 10**6}, "0 of the corpus' 15,000 words occur"),
        ({"vocab_size": 1}, "at least 2"),
    ],
)
def test_wrong_options_are_said(corpus, tmp_path, options, message):
    with pytest.raises(UserError, match=message) as caught:
        train(corpus, tmp_path / "vec", **options)
    if "method" in options:
        assert caught.value.hint == "valid: cbow, skipgram"
    assert list(tmp_path.iterdir()) == []


def test_glove_is_said_to_be_elsewhere(corpus, tmp_path):
    with pytest.raises(UserError, match="glove learns from co-occurrence counts") as caught:
        train(corpus, tmp_path / "vec", method="glove")
    assert "nlpkit vectors glove" in caught.value.hint


def test_vectors_that_burst_stop_the_run(corpus, tmp_path, monkeypatch):
    def burst(learner, *rest, _train=Learner.train):
        _train(learner, *rest)
        learner.x[3, 1] = np.inf  # as a learning rate that is far too large does, where it does

    monkeypatch.setattr(Learner, "train", burst)
    monkeypatch.setattr(sys.modules[train.__module__], "_ROWS", 2)
    with pytest.raises(RunError, match="not finite after epoch 1"):
        train(corpus, tmp_path / "vec", dim=8)
    assert list(tmp_path.iterdir()) == []


def test_a_small_vocabulary_keeps_the_most_frequent(corpus, tmp_path):
    train(corpus, tmp_path / "all", dim=4, epochs=0)
    train(corpus, tmp_path / "few", dim=4, epochs=0, vocab_size=7)
    assert load(tmp_path / "few").words == load(tmp_path / "all").words[:7]
