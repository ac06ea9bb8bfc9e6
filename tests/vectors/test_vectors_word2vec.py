"""The kernel against the algorithm written out in plain Python, and against itself on other numbers of threads."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nlpkit.base.seeds import Address
from nlpkit.vectors.base import Corpus, Settings, keep_probability, noise_distribution
from nlpkit.vectors.text.subwords import grams
from nlpkit.vectors.word2vec import huffman, rounds
from nlpkit.vectors.word2vec.learner import Learner, alias_table
from nlpkit.vectors.word2vec.word2vec import GROUP, POOL, UNIT, UNITS

ADDRESS = Address(3, ("test",))
MODES = [(method, loss) for method in ("skipgram", "cbow") for loss in ("ns", "nce", "hs")]
LOW = 2**32 - 1


def text(words, size=40, seed=0):
    """Ids with Zipf's counts in sentences of 1 to 30, and their counts."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, size + 1)
    ids = np.concatenate([np.arange(size), rng.choice(size, words - size, p=chance / chance.sum())])
    counts = np.bincount(ids)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(size, np.int32)
    rank[order] = np.arange(size)
    lengths = rng.integers(1, 31, words)
    ends = np.cumsum(lengths)
    offsets = np.concatenate([[0], ends[ends < words], [words]])
    return Corpus(rank[rng.permutation(ids)], offsets), counts[order]


def learnt(corpus, counts, settings, threads=1, ngrams=None):
    learner = Learner(corpus, counts, settings, ADDRESS, threads, ngrams)
    with ThreadPoolExecutor(8) as pool:
        for epoch in range(1, settings.epochs + 1):
            learner.train(epoch, 0, learner.rounds, pool)
    return learner


class Plain:
    """word2vec.py's description, one number at a time, in 64 bits."""

    def __init__(self, corpus, counts, settings):
        self.corpus, self.settings, self.counts = corpus, settings, counts
        start = Learner(corpus, counts, settings, ADDRESS, 1)
        self.x, self.y = (np.array(matrix, np.float64) for matrix in (start.x, start.y))
        self.keep = np.minimum(keep_probability(counts, settings.sample) * 2**32, LOW).astype(np.int64)
        self.alias = alias_table(noise_distribution(counts, 0.75)).astype(np.int64)
        self.tree = huffman.tree(counts)
        self.column = settings.dim if settings.loss == "nce" else None

    @staticmethod
    def draw(key, number):
        z = (key + 0x9E3779B97F4A7C15 * (number + 1)) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    def train(self):
        for epoch in range(1, self.settings.epochs + 1):
            key = ADDRESS.at("epoch", epoch).key() % 2**64
            kept = [self.draw(key, i) >> 32 <= self.keep[word] for i, word in enumerate(self.corpus.ids)]
            units = -(-self.corpus.words // UNIT)
            for first in range(0, units, UNITS):
                done = [self.unit(key, number, epoch, kept) for number in range(first, min(first + UNITS, units))]
                self.merge(done, self.rate(first * UNIT, epoch))
        return self

    def rate(self, word, epoch):
        done = ((epoch - 1) * self.corpus.words + word) / (self.settings.epochs * self.corpus.words)
        return max(1e-4, self.settings.lr - (self.settings.lr - 1e-4) * done)

    def unit(self, key, number, epoch, kept):
        """Rows of x and y as this unit leaves them, and how often each counts as used."""
        settings, ids = self.settings, self.corpus.ids
        begin, end = number * UNIT, min((number + 1) * UNIT, len(ids))
        sentence = np.searchsorted(self.corpus.offsets, np.arange(len(ids)), side="right")
        centres = [i for i in range(begin, end) if kept[i]]
        before = [i for i in range(begin) if kept[i] and sentence[i] == sentence[begin]][-settings.window :]
        behind = [i for i in range(end, len(ids)) if kept[i] and sentence[i] == sentence[end - 1]][: settings.window]
        around = [*before, *centres, *behind]
        if not centres:
            return {}, {}, {}, {}
        x, x_uses = {}, {}
        for i in around:
            x[ids[i]] = self.x[ids[i]].copy()
            x_uses[ids[i]] = x_uses.get(ids[i], 0) + 1
        key, y_uses = self.draw(key, -2 - number), {}
        pool = []
        if settings.loss == "hs":
            for word in {ids[i] for i in centres}:
                for node in self.tree.path(word)[0]:
                    y_uses[node] = y_uses.get(node, 0) + x_uses[word]
        else:
            for q in range(POOL):
                bits = self.draw(key, q)
                word = (bits >> 32) * len(self.keep) >> 32
                pool.append(word if bits & LOW <= self.alias[2 * word] else self.alias[2 * word + 1])
                y_uses[pool[-1]] = y_uses.get(pool[-1], 0) + 1 + settings.negative * len(centres) // POOL
            for i in centres:
                y_uses[ids[i]] = y_uses.get(ids[i], 0) + 1
        y = {row: self.y[row].copy() for row in y_uses}
        windows = []
        for j, i in enumerate(centres, len(before)):
            reach = 1 + ((self.draw(ADDRESS.at("epoch", epoch).key() % 2**64, i) & LOW) * settings.window >> 32)
            near = [k for k in around[max(0, j - reach) : j + reach + 1] if k != i and sentence[k] == sentence[i]]
            if near:
                place = settings.window + j - len(before)
                windows.append(([ids[k] for k in near], *self.outputs(ids[i], place, pool)))
        for first in range(0, len(windows), GROUP):
            self.learn(windows[first : first + GROUP], x, y, self.rate(begin, epoch))
        return x, x_uses, y, y_uses

    def outputs(self, target, place, pool):
        if self.settings.loss == "hs":
            nodes, codes = self.tree.path(target)
            return list(nodes), list(1.0 - codes)
        first = (place - self.settings.window) * self.settings.negative
        taken = [pool[(first + number) % POOL] for number in range(self.settings.negative)]
        rows = [target] + [word for word in taken if word != target]
        return rows, [1.0] + [0.0] * (len(rows) - 1)

    def learn(self, windows, x, y, rate):
        mean = self.settings.average
        steps, hiddens = [], []
        for inputs, rows, labels in windows:
            hidden = np.array([x[word] for word in inputs])
            if self.settings.method == "cbow":
                hidden = hidden.sum(0, keepdims=True) / (len(inputs) if mean else 1)
                if self.column is not None:
                    hidden[:, self.column] = 1
            score = hidden @ np.array([y[row] for row in rows]).T
            steps.append(rate * (np.array(labels) - 1 / (1 + np.exp(-score))))
            hiddens.append(hidden)
        moves = []
        for (inputs, rows, _), step, hidden in zip(windows, steps, hiddens, strict=True):
            move = np.zeros((len(step), len(self.x[0])))
            at = 0
            for size in self.blocks(len(step)):
                part = slice(at, at + size)
                if self.settings.method == "skipgram":
                    hidden = np.array([x[word] for word in inputs])
                for k, row in enumerate(rows):
                    move[part] += step[part, k, None] * y[row]
                    y[row] = y[row] + step[part, k] @ hidden[part]
                if self.settings.method == "skipgram":
                    for word, change in zip(inputs[part], move[part], strict=True):
                        x[word] = x[word] + self.free(change)
                at += size
            moves.append(move[0] / (len(inputs) if self.settings.divide else 1))
        if self.settings.method == "cbow":
            for (inputs, _, _), move in zip(windows, moves, strict=True):
                for word in inputs:
                    x[word] = x[word] + self.free(move)

    def free(self, change):
        change = change.copy()
        change[self.settings.dim :] = 0
        return change

    @staticmethod
    def blocks(inputs):
        while inputs:
            size = 4 if inputs >= 4 else 2 if inputs >= 2 else 1
            yield size
            inputs -= size

    def merge(self, units, rate):
        for matrix, side in ((self.x, 0), (self.y, 2)):
            for row in sorted({row for unit in units for row in unit[side]}):
                users = [unit for unit in units if row in unit[side]]
                uses = rate * sum(unit[side + 1][row] for unit in users)
                scale = (1 + uses / len(users)) / (1 + uses)
                matrix[row] = matrix[row] + sum(scale * (unit[side][row] - matrix[row]) for unit in users)


@pytest.mark.parametrize(("method", "loss"), MODES)
def test_the_kernel_is_the_algorithm(method, loss):
    corpus, counts = text(UNIT * UNITS + 700)  # a round and a part
    settings = Settings(method, loss, dim=11, window=3, epochs=2, lr=0.1, sample=1e-2, negative=6)
    plain = Plain(corpus, counts, settings).train()
    learner = learnt(corpus, counts, settings)
    for name in ("x", "y"):
        ours, theirs = getattr(learner, name), getattr(plain, name)
        moved = np.abs(theirs - getattr(Learner(corpus, counts, settings, ADDRESS, 1), name)).max()
        assert moved > 1e-3
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * moved + 2e-6)


@pytest.mark.parametrize("options", [{"average": False}, {"divide": True}])
def test_sums_and_divided_gradients_are_the_algorithms(options):
    corpus, counts = text(2000)
    settings = Settings("cbow", "ns", dim=8, window=4, epochs=1, lr=0.05, sample=0.0, **options)
    plain = Plain(corpus, counts, settings).train()
    np.testing.assert_allclose(learnt(corpus, counts, settings).x, plain.x, atol=1e-5)


@pytest.mark.parametrize(("method", "loss"), MODES)
def test_any_number_of_threads_gives_the_same_bytes(method, loss):
    """With more rows, units and rounds than threads; 5 and 16 do not divide anything."""
    corpus, counts = text(30_000, size=3000)
    settings = Settings(method, loss, dim=20, window=5, epochs=2, lr=0.05, sample=1e-3)
    shas = set()
    for threads in (1, 2, 3, 4, 5, 16):
        learner = learnt(corpus, counts, settings, threads)
        shas.add(hashlib.sha256(learner.x.tobytes() + learner.y.tobytes()).hexdigest())
    assert len(shas) == 1


def test_ngrams_give_the_same_bytes_on_any_number_of_threads():
    corpus, counts = text(20_000, size=500)
    settings = Settings(dim=12, epochs=1)
    ngrams = grams([f"word{number}" for number in range(500)], 3, 4, 100)
    shas = {
        hashlib.sha256(learnt(corpus, counts, settings, threads, ngrams).x.tobytes()).digest() for threads in (1, 2, 4)
    }
    assert len(shas) == 1


def test_threads_that_cannot_sleep_give_the_same_bytes(monkeypatch):
    """As on systems that know nothing like Linux's futex."""
    corpus, counts = text(5 * UNIT * UNITS + 77)
    settings = Settings(dim=20, window=3, epochs=1)
    system, expected = rounds.system(), learnt(corpus, counts, settings, 3).x.tobytes()
    monkeypatch.setattr("nlpkit.vectors.word2vec.learner.system", lambda: system._replace(syscall=0))
    assert learnt(corpus, counts, settings, 3).x.tobytes() == expected


def test_every_setting_changes_the_vectors():
    corpus, counts = text(3000)
    base = {"dim": 16, "epochs": 1, "sample": 1e-2}
    cbow = {"method": "cbow"}
    changed = [
        {},
        cbow,
        {"loss": "hs"},
        {"loss": "nce"},
        {"window": 2},
        {"negative": 6},
        {"noise_exponent": 0.5},
        {"sample": 0.0},
        {"lr": 0.1},
        {**cbow, "average": False},
        {**cbow, "divide": True},
    ]
    seen = {learnt(corpus, counts, Settings(**{**base, **change})).x.tobytes() for change in changed}
    assert len(seen) == len(changed)


def test_the_noise_is_drawn_as_often_as_its_distribution_says():
    noise = noise_distribution(np.array([500, 100, 50, 5, 1]), 0.75)
    table = alias_table(noise).astype(np.float64)
    share = np.zeros(5)
    for word in range(5):
        stays = (table[2 * word] + 1) / 2**32
        share[word] += stays / 5
        share[int(table[2 * word + 1])] += (1 - stays) / 5
    np.testing.assert_allclose(share, noise, atol=1e-9)


def test_words_without_neighbours_and_one_word_vocabularies_of_noise():
    """Sentences of one word teach nothing; where every negative is the word itself there are none."""
    corpus = Corpus(np.zeros(500, np.int32), np.arange(501))
    counts = np.array([500, 1])
    learner = learnt(corpus, counts, Settings(dim=8, epochs=1, sample=0.0))
    assert not learner.y.any()
    corpus = Corpus(np.zeros(500, np.int32), np.array([0, 500]))
    learner = learnt(corpus, np.array([10**9, 1]), Settings(dim=8, epochs=1, sample=0.0))
    assert np.isfinite(learner.y).all() and learner.y[0].any()


@pytest.mark.oracle
def test_keep_probability_is_gensims():
    from gensim.models import Word2Vec

    counts = np.array([5000, 900, 200, 30, 5])
    model = Word2Vec(min_count=1, sample=1e-2, sorted_vocab=0)
    model.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    theirs = [model.wv.get_vecattr(word, "sample_int") / (2**32 - 1) for word in range(len(counts))]
    np.testing.assert_allclose(keep_probability(counts, 1e-2), theirs, atol=1e-9)
    assert keep_probability(counts, 0.0).tolist() == [1, 1, 1, 1, 1]


def test_nothing_pays_for_the_kernel_before_it_trains():
    code = (
        "import sys, nlpkit.vectors.queries.evaluate, nlpkit.vectors.queries.query, nlpkit.exchange.vector_formats;"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


GOLDEN = {
    ("skipgram", "ns"): "5b8ef5586bb840ef",
    ("skipgram", "nce"): "adfbe6d3d233a0c0",
    ("cbow", "hs"): "fd49a96248575790",
    ("cbow", "ngrams"): "38045094c256247e",
}


@pytest.mark.parametrize(("method", "loss"), GOLDEN)
def test_short_runs_have_these_bytes_on_every_machine(method, loss):
    """Additions, multiplications, divisions and square roots in one order, whose rounding IEEE 754 fixes; the sigmoid
    and the draws are made of these and of whole numbers. Renew these when the algorithm changes, and say so in
    CHANGELOG.md."""
    corpus, counts = text(6000, size=60)
    settings = Settings(method, "ns" if loss == "ngrams" else loss, dim=20, window=3, epochs=2, sample=1e-2)
    ngrams = grams([f"word{number}" for number in range(60)], 3, 4, 50) if loss == "ngrams" else None
    learner = learnt(corpus, counts, settings, 2, ngrams)
    assert hashlib.sha256(learner.x.tobytes() + learner.y.tobytes()).hexdigest()[:16] == GOLDEN[method, loss]
