"""The engine: gensim's results, and nothing of gensim beyond it."""

import subprocess
import sys

import numpy as np
import pytest

from nlpkit.seeds import Address
from nlpkit.vectors import engine_gensim
from nlpkit.vectors.base import Corpus, Settings, keep_probability

ADDRESS = Address(3, ("test",))


def corpus_of(sentences):
    offsets = np.concatenate([[0], np.cumsum([len(sentence) for sentence in sentences])])
    return Corpus(np.concatenate(sentences).astype(np.int32), offsets)


def text(words=20, sentences=1500, seed=0):
    """Sentences of ids whose counts fall strictly and join to different weights, so that no tree needs a tie broken."""
    rng = np.random.default_rng(seed)
    share = 0.8 ** np.arange(words)
    ids = rng.choice(words, size=sentences * 12, p=share / share.sum())
    order = np.argsort(-np.bincount(ids, minlength=words), kind="stable")
    ids = np.argsort(order)[ids]
    cuts = np.sort(rng.choice(len(ids), sentences, replace=False))
    counts = np.bincount(ids, minlength=words)
    assert (np.diff(counts) < 0).all()
    return [part for part in np.split(ids, cuts) if len(part)], counts


def learn(sentences, counts, settings, threads=1):
    told = []
    weights = engine_gensim.train(
        corpus_of(sentences), counts, settings, seed=ADDRESS, threads=threads,
        progress=lambda epoch, words: told.append((epoch, words)), epoch_end=lambda epoch, weights: None,
    )  # fmt: skip
    return weights, told


@pytest.mark.oracle
@pytest.mark.parametrize("changes", [
    {}, {"window": 2}, {"negative": 12}, {"noise_exponent": 0.0}, {"noise_exponent": 1.0}, {"sample": 0.0},
    {"sample": 0.01}, {"epochs": 1}, {"lr": 0.1}, {"lr": 1e-5}, {"dim": 33}, {"average": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["ns", "hs"])
def test_same_vectors_as_gensim(method, loss, changes):
    from gensim.models import Word2Vec

    settings = Settings(**{"method": method, "loss": loss, "dim": 16, "epochs": 2, "sample": 1e-2, **changes})
    sentences, counts = text()
    weights, _ = learn(sentences, counts, settings)
    negative = settings.negative if loss == "ns" else 0
    theirs = Word2Vec(
        vector_size=settings.dim, window=settings.window, sg=int(method == "skipgram"), hs=int(loss == "hs"),
        negative=negative, ns_exponent=settings.noise_exponent, cbow_mean=int(settings.average),
        sample=settings.sample, alpha=settings.lr, min_alpha=min(1e-4, settings.lr), min_count=1, workers=1,
        seed=engine_gensim.gensim_seed(ADDRESS),
    )  # fmt: skip
    words = [[str(word) for word in sentence] for sentence in sentences]
    theirs.build_vocab(words)
    assert theirs.wv.index_to_key == [str(word) for word in range(len(counts))]
    theirs.train(words, total_words=theirs.corpus_total_words, epochs=settings.epochs)
    np.testing.assert_array_equal(weights.vectors, theirs.wv.vectors)
    np.testing.assert_array_equal(weights.output, theirs.syn1neg if loss == "ns" else theirs.syn1[:-1])
    assert np.abs(weights.output).sum() > 0


def test_every_setting_changes_the_vectors():
    """The test above would pass if both sides ignored a setting."""
    sentences, counts = text()
    base = {"dim": 16, "epochs": 1, "sample": 1e-2}
    changed = [{}, {"method": "cbow"}, {"loss": "hs"}, {"window": 2}, {"negative": 6}, {"noise_exponent": 0.5},
               {"sample": 0.0}, {"lr": 0.1}, {"method": "cbow", "average": False}]  # fmt: skip
    seen = {learn(sentences, counts, Settings(**{**base, **change}))[0].vectors.tobytes() for change in changed}
    assert len(seen) == len(changed)


@pytest.mark.oracle
def test_keep_probability_is_gensims():
    from gensim.models import Word2Vec

    counts = np.array([5000, 900, 200, 30, 5])
    model = Word2Vec(min_count=1, sample=1e-2, sorted_vocab=0)
    model.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    theirs = [model.wv.get_vecattr(word, "sample_int") / (2**32 - 1) for word in range(len(counts))]
    np.testing.assert_allclose(keep_probability(counts, 1e-2), theirs, atol=1e-9)
    assert keep_probability(counts, 0.0).tolist() == [1, 1, 1, 1, 1]


def test_long_sentences_are_trained_whole():
    rng = np.random.default_rng(0)
    sentence = np.concatenate([rng.integers(0, 2, 25_000), np.full(50, 2)])  # word 2 stands at the end only
    counts = np.bincount(sentence)
    settings = Settings(dim=8, epochs=1, sample=0.0)
    weights, told = learn([sentence], counts, settings)
    assert told == [(1, 10_000), (1, 20_000), (1, 25_050)]
    assert np.abs(weights.output[2]).sum() > 0


def test_no_epochs_give_the_first_vectors():
    sentences, counts = text()
    weights, told = learn(sentences, counts, Settings(dim=8, epochs=0))
    assert told == [] and weights.vectors.std() > 0 and not weights.output.any()


def test_threads_change_nothing():
    sentences, counts = text()
    one, two = (learn(sentences, counts, Settings(dim=8, epochs=1), threads=threads)[0] for threads in (1, 2))
    assert one.vectors.tobytes() == two.vectors.tobytes()


def test_only_the_engine_imports_gensim():
    """What another engine replaces is one module; and nothing pays for gensim before it trains."""
    code = (
        "import sys, nlpkit.vectors.train, nlpkit.vectors.evaluate, nlpkit.vectors.query, nlpkit.vectors.formats;"
        "sys.exit('gensim' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
