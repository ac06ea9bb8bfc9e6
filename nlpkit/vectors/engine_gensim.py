"""word2vec's four modes with gensim's kernels, on one thread.

gensim is the same every time with one worker only, and its own loop hands sentences between threads; this one calls
its kernels one batch after the other. Batches, learning rates and random numbers are those of gensim's
``train(total_words=...)`` with ``workers=1``, so the vectors are too (a test says so). Words are ids
here: hash order cannot matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.seeds import Address
from nlpkit.vectors import huffman
from nlpkit.vectors.base import MIN_LR, Corpus, Settings, Weights

libraries = ("gensim", "numpy", "scipy")  # scipy's BLAS does the dot products

BATCH = 10_000  # words; gensim's kernels ignore what is beyond in one call


def gensim_seed(seed: Address) -> int:
    """The 32 bits with which gensim starts its generators."""
    return seed.key() & 0xFFFF_FFFF


def train(
    corpus: Corpus,
    counts: NDArray[np.int64],
    settings: Settings,
    *,
    seed: Address,
    threads: int,
    progress: Callable[[int, int], None],
    epoch_end: Callable[[int, Weights], None],
) -> Weights:
    """See `nlpkit.vectors.base.Engine`; ``threads`` is not used."""
    from gensim.models.word2vec_inner import train_batch_cbow, train_batch_sg

    model = _model(counts, settings, gensim_seed(seed))
    work, sums = np.zeros(settings.dim, np.float32), np.zeros(settings.dim, np.float32)
    least = min(MIN_LR, settings.lr)
    for epoch in range(settings.epochs):
        words_done = 0
        for batch in _batches(corpus):
            share = (epoch + words_done / corpus.words) / settings.epochs
            lr = max(least, settings.lr - (settings.lr - least) * share)
            if settings.method == "skipgram":
                train_batch_sg(model, batch, lr, work, False)
            else:
                train_batch_cbow(model, batch, lr, work, sums, False)
            words_done += sum(map(len, batch))
            progress(epoch + 1, words_done)
        epoch_end(epoch + 1, _weights(model, settings))
    return _weights(model, settings)


def _pieces(corpus: Corpus) -> Iterator[list[int]]:
    """Sentences as lists, long ones in pieces that the kernels read whole."""
    for sentence in corpus:
        for start in range(0, len(sentence), BATCH):
            yield sentence[start : start + BATCH].tolist()


def _batches(corpus: Corpus) -> Iterator[list[list[int]]]:
    """As many sentences as fit in a batch."""
    batch: list[list[int]] = []
    size = 0
    for piece in _pieces(corpus):
        if batch and size + len(piece) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += len(piece)
    if batch:
        yield batch


def _model(counts: NDArray[np.int64], settings: Settings, seed: int) -> Any:
    """gensim's model with its vocabulary 0..V-1 and its first weights."""
    from gensim.models import Word2Vec

    class Model(Word2Vec):  # type: ignore[misc]
        def create_binary_tree(self) -> None:
            # gensim breaks ties of counts by the state of a heap; ours are a rule that every engine can keep.
            tree = huffman.tree(counts)
            for word in range(len(counts)):
                nodes, codes = tree.path(word)
                self.wv.set_vecattr(word, "code", codes)
                self.wv.set_vecattr(word, "point", nodes.astype(np.uint32))

    model = Model(
        vector_size=settings.dim, window=settings.window, sg=int(settings.method == "skipgram"),
        hs=int(settings.loss == "hs"), negative=settings.negative if settings.loss == "ns" else 0,
        ns_exponent=settings.noise_exponent, cbow_mean=int(settings.average), sample=settings.sample,
        min_count=1, sorted_vocab=0, workers=1, seed=seed,
    )  # fmt: skip
    model.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    model.running_training_loss = 0.0  # the kernels add to it; `nlpkit.vectors.loss` measures instead
    return model


def _weights(model: Any, settings: Settings) -> Weights:
    output = model.syn1neg if settings.loss == "ns" else model.syn1[: settings.output_rows(len(model.wv))]
    return Weights(model.wv.vectors, output)
