"""Noise-contrastive estimation learns probabilities that sum to one by themselves; negative sampling does not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.base.seeds import Address
from nlpkit.stages.vectors_train import train
from nlpkit.vectors.base import Corpus, Settings, Weights, noise_distribution
from nlpkit.vectors.word2vec.learner import Learner
from nlpkit.vectors.word2vec.loss import Loss

WORDS = 150


@pytest.fixture(scope="module")
def corpus():
    """Sentences of four topics, the words of each five times as likely there, and their counts."""
    rng, lines = np.random.default_rng(0), []
    for _ in range(3000):
        chance = np.where(np.arange(WORDS) % 4 == rng.integers(4), 5, 1) / np.sqrt(np.arange(1, WORDS + 1))
        lines.append(rng.choice(WORDS, 10, p=chance / chance.sum()))
    ids = np.concatenate(lines)
    order = np.argsort(-np.bincount(ids, minlength=WORDS), kind="stable")
    rank = np.empty(WORDS, np.int32)
    rank[order] = np.arange(WORDS)
    return Corpus(rank[ids], np.arange(0, len(ids) + 1, 10)), np.bincount(ids, minlength=WORDS)[order]


def learnt(corpus, settings):
    """The scores of all words, [P, V], at some predictions of the corpus, and what their targets were."""
    learner = Learner(*corpus, settings, Address(0), threads=2)
    with ThreadPoolExecutor(2) as pool:
        for epoch in range(1, settings.epochs + 1):
            learner.train(epoch, 0, learner.rounds, pool)
    weights, drawn = learner.weights(), Loss(*corpus, settings, Address(0))
    hidden = np.array([weights.vectors[row[row >= 0]].mean(0) for row in drawn.inputs], np.float64)
    scores = hidden @ weights.output.T
    return (scores if weights.bias is None else scores + weights.bias), drawn.targets


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_probabilities_sum_to_one_without_being_divided(corpus, method):
    settings = {"method": method, "dim": 16, "window": 3, "sample": 0.0, "epochs": 8, "lr": 0.05}
    scores, targets = learnt(corpus, Settings(loss="nce", **settings))
    log_z = np.log(np.exp(scores).sum(1))
    assert abs(log_z.mean()) < 0.1 and log_z.std() < 0.2
    counts = corpus[1] / corpus[1].sum()
    likelihood = scores[np.arange(len(targets)), targets].mean()
    assert likelihood > np.log(counts)[targets].mean() + 0.1  # they know more than how frequent words are
    scores, _ = learnt(corpus, Settings(loss="ns", **settings))
    assert np.log(np.exp(scores).sum(1)).mean() > 2


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_the_loss_is_the_objective(method):
    """Mnih and Teh 2012, equation 8, written out."""
    rng = np.random.default_rng(1)
    counts = np.array([60, 50, 40, 30, 20, 10])
    ids = rng.permutation(np.repeat(np.arange(6), counts)).astype(np.int32)
    weights = Weights(*rng.normal(size=(2, 6, 4)).astype(np.float32), bias=rng.normal(size=6).astype(np.float32))
    settings = Settings(method, "nce", dim=4, window=2, sample=0.0, negative=3)
    loss, noise = (
        Loss(Corpus(ids, np.arange(0, 211, 7)), counts, settings, Address(0)),
        noise_distribution(counts, 0.75),
    )
    total = 0.0
    for inputs, target, negatives in zip(loss.inputs, loss.targets, loss.negatives, strict=True):
        hidden = weights.vectors[inputs[inputs >= 0]].astype(np.float64).mean(0)

        def from_data(word, hidden=hidden):
            """How probable it is that a word is no noise."""
            probability = np.exp(weights.output[word].astype(np.float64) @ hidden + weights.bias[word])
            return probability / (probability + 3 * noise[word])

        total -= np.log(from_data(target))
        total -= sum(np.log(1 - from_data(word)) for word in negatives if word != target)
    assert loss(weights) == pytest.approx(total / len(loss.targets), abs=1e-6)


def test_the_file_has_the_biases(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d\nc d a b a\n" * 40)
    train(tmp_path / "text.txt", tmp_path / "vec", loss="nce", dim=9, epochs=0, sample=0.0)
    found = file.read(tmp_path / "vec", kind="vectors")
    assert {name: found.array(name).shape for name in found.tensors} == {
        "vectors": (4, 9),
        "context": (4, 9),
        "bias": (4,),
        "counts": (4,),
    }
    counts = found.array("counts")
    np.testing.assert_allclose(np.exp(found.array("bias")), counts / counts.sum(), rtol=1e-5)  # untrained: frequencies
    train(tmp_path / "text.txt", tmp_path / "more", loss="nce", dim=9, epochs=3, sample=0.0)
    assert not np.allclose(file.read(tmp_path / "more", kind="vectors").array("bias"), found.array("bias"))
