"""The measured loss against sums written out by hand."""

import numpy as np
import pytest

from nlpkit.base.seeds import Address
from nlpkit.vectors.base import Corpus, Settings, Weights
from nlpkit.vectors.word2vec import loss as loss_module
from nlpkit.vectors.word2vec.huffman import tree
from nlpkit.vectors.word2vec.loss import Loss

RNG = np.random.default_rng(1)
COUNTS = np.array([60, 50, 40, 30, 20, 10])
IDS = RNG.permutation(np.repeat(np.arange(6), COUNTS)).astype(np.int32)
CORPUS = Corpus(IDS, np.arange(0, len(IDS) + 1, 7))
WEIGHTS = Weights(RNG.normal(size=(6, 4)).astype(np.float32), RNG.normal(size=(6, 4)).astype(np.float32))
INPUT, OUTPUT = WEIGHTS.vectors.astype(np.float64), WEIGHTS.output.astype(np.float64)


def made(**changes):
    return Loss(CORPUS, COUNTS, Settings(**{"dim": 4, "window": 2, "sample": 0.0, **changes}), Address(0))


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def hidden(loss, row):
    inputs = [word for word in loss.inputs[row] if word >= 0]
    total = INPUT[inputs].sum(0)
    return total / len(inputs) if loss.settings.average else total


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("average", [True, False])
def test_tree_loss_is_the_exact_likelihood(method, average):
    loss = made(method=method, loss="hs", average=average)
    paths = tree(COUNTS)

    def probability(word, state):
        nodes, codes = paths.path(word)
        scores = OUTPUT[nodes] @ state
        return np.prod(sigmoid(np.where(codes == 0, scores, -scores)))

    total = 0.0
    for row, target in enumerate(loss.targets):
        every = [probability(word, hidden(loss, row)) for word in range(6)]
        assert sum(every) == pytest.approx(1, abs=1e-6)
        total -= np.log(every[target])
    assert loss(Weights(WEIGHTS.vectors, WEIGHTS.output[:5])) == pytest.approx(total / len(loss.targets), abs=1e-6)


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_sampling_loss_is_the_objective(method):
    loss = made(method=method, negative=3)
    total = 0.0
    for row, target in enumerate(loss.targets):
        state = hidden(loss, row)
        total -= np.log(sigmoid(OUTPUT[target] @ state))
        for negative in loss.negatives[row]:
            if negative != target:
                total -= np.log(sigmoid(-OUTPUT[negative] @ state))
    assert loss(WEIGHTS) == pytest.approx(total / len(loss.targets), abs=1e-6)


def test_predictions_stay_in_their_sentence_and_window():
    corpus = Corpus(np.arange(6, dtype=np.int32), np.array([0, 3, 6]))
    pairs = Loss(corpus, COUNTS, Settings(dim=4, window=2, sample=0.0), Address(0))
    seen = {(int(target), int(other)) for target, (other,) in zip(pairs.targets, pairs.inputs, strict=True)}
    assert seen == {(a, b) for base in (0, 3) for a in range(base, base + 3) for b in range(base, base + 3) if a != b}
    groups = Loss(corpus, COUNTS, Settings(method="cbow", dim=4, window=2, sample=0.0), Address(0))
    for target, row in zip(groups.targets.tolist(), groups.inputs.tolist(), strict=True):
        around = {word for word in row if word >= 0}
        assert around and target not in around and {word // 3 for word in around} == {target // 3}


def test_untrained_weights_have_the_loss_of_coins():
    """With an output side of zeros each decision costs log 2."""
    zeros = Weights(WEIGHTS.vectors, np.zeros((6, 4), np.float32))
    loss = made(negative=2)
    decisions = 1 + (loss.negatives != loss.targets[:, None]).sum(1)
    assert loss(zeros) == pytest.approx(np.log(2) * decisions.mean())


def test_one_word_sentences_have_no_loss():
    corpus = Corpus(np.arange(6, dtype=np.int32), np.arange(7))
    for method in ("skipgram", "cbow"):
        assert Loss(corpus, COUNTS, Settings(method=method, dim=4, sample=0.0), Address(0))(WEIGHTS) is None


def test_a_huge_sentence_is_not_read_whole():
    corpus = Corpus(np.tile(IDS, 100), np.array([0, 100 * len(IDS)]))
    assert 0 < len(Loss(corpus, COUNTS, Settings(dim=4, sample=0.0), Address(0)).targets) <= 5000 * 10


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("kind", ["ns", "nce", "hs"])
def test_what_is_computed_together_does_not_show(monkeypatch, method, kind):
    weights = Weights(
        WEIGHTS.vectors,
        WEIGHTS.output[: 5 if kind == "hs" else 6],
        bias=np.arange(6, dtype=np.float32) if kind == "nce" else None,
    )
    loss = made(method=method, loss=kind)
    found = set()
    for rows in (loss_module._SUMMED, 64, 7):
        monkeypatch.setattr(loss_module, "_CHUNK", rows)
        found.add(loss(weights))
    assert loss.predictions > loss_module._SUMMED or method == "cbow"
    assert len(found) == 1


def test_a_tree_that_is_given_is_that_of_the_counts():
    settings = Settings(dim=4, window=2, sample=0.0, loss="hs")
    weights = Weights(WEIGHTS.vectors, WEIGHTS.output[:5])
    given = Loss(CORPUS, COUNTS, settings, Address(0), tree(COUNTS))
    assert given(weights) == made(loss="hs")(weights)
