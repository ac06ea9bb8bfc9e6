"""vectors train --engine gensim: training on the same corpus by gensim (Rehurek and Sojka 2010).

The vocabulary, the sentences and the reported loss are nlpkit's, so that two files of different engines can be
compared; everything between is gensim's. One worker: several would overwrite each other's rows. Words are
passed in one order, most frequent first, and no hash of a string is used, so that PYTHONHASHSEED changes nothing.
gensim reads 10,000 words of a sentence at most, so longer ones are cut there.

Shapes: V words, B buckets of n-grams, D width.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nlpkit.base import events
from nlpkit.base.errors import UserError, refuse
from nlpkit.vectors.base import MIN_LR, Corpus, Settings, Weights
from nlpkit.vectors.text import subwords
from nlpkit.vectors.text.counting import Vocabulary
from nlpkit.vectors.word2vec import huffman

LIBRARIES = ("gensim", "numba", "numpy", "scipy")
LONGEST = 10_000  # words of a sentence: MAX_SENTENCE_LEN of gensim's kernels
_MOST_SEED = 2**32 - 1  # of numpy's RandomState


def check(settings: Settings, options: Mapping[str, Any], save_every: int | None) -> None:
    """Errors: a UserError for an option that gensim does not have."""
    if settings.loss == "nce":
        raise UserError("engine gensim has no loss nce", hint="--loss ns or hs, or --engine nlpkit")
    hint = "leave it out, or use --engine nlpkit"
    refuse({"divide": options["divide"]}, "gensim divides the gradient of a sum, and none of a mean", hint=hint)
    if options["average"] is False:
        raise UserError(
            "engine gensim divides the gradient of a sum (--no-average), which is another method", hint=hint
        )
    refuse({"patience": options["patience"]}, "gensim does all epochs in one call", hint=hint)
    refuse({"save_every": save_every}, "gensim saves no state: a run that is killed starts over", hint=hint)
    if options["seed"] > _MOST_SEED:
        raise UserError(f"seed is {options['seed']}, expected at most {_MOST_SEED:,} (engine gensim)")


def learn(
    vocabulary: Vocabulary,
    text: Corpus,
    settings: Settings,
    options: Mapping[str, Any],
    measure: Callable[[int, Weights, huffman.Tree | None], None],
) -> Weights:
    """Learn from the corpus; ``measure`` is called after each epoch with its number, the weights, and gensim's own tree
    (loss hs). ``options`` are the run's: seed, subwords, buckets."""
    from gensim.models.callbacks import CallbackAny2Vec
    from gensim.models.fasttext import FastText
    from gensim.models.word2vec import Word2Vec

    arguments = {
        "vector_size": settings.dim,
        "window": settings.window,
        "alpha": settings.lr,
        "min_alpha": MIN_LR,
        "sg": int(settings.method == "skipgram"),
        "hs": int(settings.loss == "hs"),
        "negative": 0 if settings.loss == "hs" else settings.negative,
        "ns_exponent": settings.noise_exponent,
        "sample": settings.sample,
        "epochs": settings.epochs,
        "seed": options["seed"],
        "cbow_mean": 1,
        "min_count": 1,
        "workers": 1,
        "sorted_vocab": 0,
        "hashfxn": _hash,
        "shrink_windows": True,
    }
    with _quiet():
        if options["subwords"] is None:
            model = Word2Vec(**arguments)
        else:
            least, most, buckets = subwords.parse(options["subwords"], options["buckets"])
            model = FastText(**arguments, min_n=least, max_n=most, bucket=buckets)
        counts = dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True))
        sentences = _Sentences(vocabulary.words, text, settings.epochs)
        model.build_vocab_from_freq(counts, corpus_count=sentences.count)
        tree = _tree(model) if settings.loss == "hs" else None

        class Measured(CallbackAny2Vec):  # type: ignore[misc]
            """Measures the weights after each epoch."""

            def on_epoch_end(self, model: Any) -> None:
                if options["subwords"] is not None:
                    model.wv.adjust_vectors()
                measure(sentences.epoch, _weights(model, settings), tree)

        if settings.epochs:
            model.train(sentences, total_examples=sentences.count, epochs=settings.epochs, callbacks=[Measured()])
    return _weights(model, settings)


def _hash(text: str) -> int:
    """In place of Python's own, which differs from process to process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _weights(model: Any, settings: Settings) -> Weights:
    output = model.syn1[: len(model.wv.index_to_key) - 1] if settings.loss == "hs" else model.syn1neg
    grams = getattr(model.wv, "vectors_ngrams", None)
    return Weights(model.wv.vectors, output, ngrams=grams)


def _tree(model: Any) -> huffman.Tree:
    """gensim's own tree, which orders equal counts otherwise."""
    words = range(len(model.wv.index_to_key))
    nodes = [np.asarray(model.wv.get_vecattr(word, "point"), np.int32) for word in words]
    codes = [np.asarray(model.wv.get_vecattr(word, "code"), np.uint8) for word in words]
    offsets = np.concatenate([[0], np.cumsum([len(code) for code in codes])]).astype(np.int64)
    return huffman.Tree(np.concatenate(nodes), np.concatenate(codes), offsets)


class _Sentences:
    """The corpus as lists of words, once for each epoch."""

    def __init__(self, words: list[str], text: Corpus, epochs: int) -> None:
        self.words, self.text, self.epochs = np.array(words, object), text, epochs
        self.epoch = 0
        lengths = np.diff(text.offsets)
        self.count = int((-(-lengths // LONGEST)).sum())

    def __iter__(self) -> Iterator[list[str]]:
        self.epoch += 1
        offsets, label = self.text.offsets, f"epoch {self.epoch}/{self.epochs}"
        before, total = (self.epoch - 1) * self.text.words, self.epochs * self.text.words
        for sentence in range(self.text.sentences):
            start, end = int(offsets[sentence]), int(offsets[sentence + 1])
            for first in range(start, end, LONGEST):
                yield self.words[self.text.ids[first : min(end, first + LONGEST)]].tolist()
            if sentence % 1000 == 0:
                events.emit("progress", label=label, done=before + end, total=total, unit="words")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence gensim's log, whose advice is for those who call it from Python."""
    logger = logging.getLogger("gensim")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
