"""Word vectors of the pieces of token files, learnt in memory in a few seconds: the start of a model's embeddings.

The algorithm and its settings are those of ``nlpkit vectors train`` (skip-gram with negative sampling; Mikolov et al.
2013b), and so are the bytes: the same on any number of threads. Shapes: P pieces, D width.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.base.world import default_threads
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.vectors.base import Floats, Ids, Settings
from nlpkit.vectors.text.counting import Vocabulary, choose_words, count, rewritten
from nlpkit.vectors.text.reading import TokenSource
from nlpkit.vectors.word2vec.learner import WORDS_A_ROUND, Learner

MIN_COUNT = 5
WORDS = 10_000_000  # read in all epochs, at least, if these are not more than MOST_EPOCHS
EPOCHS, MOST_EPOCHS = 5, 20
SECONDS = 0.5  # of training, from which the pace is known
_ROUNDS = 64  # between two reports of progress


def learn(files: TokenFiles, dim: int, seed: Address, target: Path) -> tuple[Ids, Floats]:
    """The ids of the pieces that occur MIN_COUNT times or more, [P], and their vectors, [P, D].

    ``target``: the output beside which the text is spooled. Errors: a UserError when there are fewer than two of them;
    OSError when the disk is full.
    """
    source = TokenSource(files)
    vocabulary, final = _frequent(files, count(source.blocks(), None, "counting pieces"))
    text = rewritten(source.blocks(), final, target)
    epochs = _epochs(text.words)
    learner = Learner(text, vocabulary.counts, Settings(dim=dim, epochs=epochs), seed, default_threads())
    with ThreadPoolExecutor(learner.threads) as pool:
        for epoch in range(1, epochs + 1):
            for first in range(0, learner.rounds, _ROUNDS):
                last = min(learner.rounds, first + _ROUNDS)
                learner.train(epoch, first, last, pool)
                done = (epoch - 1) * text.words + min(last * WORDS_A_ROUND, text.words)
                events.emit("progress", label="word vectors", done=done, total=epochs * text.words, unit="words")
    ids = np.empty(len(vocabulary.words), np.int32)
    known = np.flatnonzero(final >= 0)
    ids[final[known]] = known
    return ids, np.array(learner.weights().vectors, np.float32)


def seconds(files: TokenFiles, dim: int) -> float:
    """How long the training of `learn` takes, measured for SECONDS on the beginning of the text; 0 where too few pieces
    are frequent there."""
    beginning = next(TokenSource(files).blocks())
    try:
        vocabulary, final = _frequent(files, count([beginning], None, "counting pieces"))
    except UserError:
        return 0.0
    text = rewritten([beginning], final, Path(tempfile.gettempdir()) / "nlpkit")
    words = round(text.words * files.n_tokens / max(1, len(beginning[0])))  # of the whole text
    epochs = _epochs(words)
    learner = Learner(text, vocabulary.counts, Settings(dim=dim, epochs=epochs), Address(0), default_threads())
    with ThreadPoolExecutor(learner.threads) as pool:
        learner.train(1, 0, 1, pool)  # it compiles the kernels, or loads them
        done, began = 0, time.perf_counter()
        while not done or (done < learner.rounds and time.perf_counter() < began + SECONDS):
            learner.train(1, done, min(learner.rounds, done + _ROUNDS), pool)
            done += _ROUNDS
    taken = time.perf_counter() - began
    return taken * epochs * words / min(text.words, done * WORDS_A_ROUND)


def _frequent(files: TokenFiles, counts: NDArray[np.int64]) -> tuple[Vocabulary, Ids]:
    """The vocabulary, and the new id of each piece. Errors: UserError for fewer than two frequent pieces."""
    if np.count_nonzero(counts >= MIN_COUNT) < 2:
        raise UserError(
            f"fewer than two pieces occur {MIN_COUNT} times in the text, too few for word vectors",
            hint="--embeddings random, or more text",
        )
    return choose_words(files.tokenizer.pieces, counts, min_count=MIN_COUNT, vocab_size=None)


def _epochs(words: int) -> int:
    return min(MOST_EPOCHS, max(EPOCHS, round(WORDS / max(1, words))))
