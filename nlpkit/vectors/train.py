"""nlpkit vectors train: a corpus makes word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit import events
from nlpkit.artifact.provenance import Run, default_threads
from nlpkit.errors import RunError, refuse
from nlpkit.seeds import Address
from nlpkit.vectors.base import Corpus, Settings, Weights, engine
from nlpkit.vectors.counting import Vocabulary
from nlpkit.vectors.file import KIND
from nlpkit.vectors.loss import Loss
from nlpkit.vectors.reading import read

_BYTES_A_WORD = 500  # of a word's text, count and place in the tables of Python and of the engine


def train(
    corpus: Sequence[Path],
    output: Path,
    *,
    method: str = "skipgram",
    loss: str = "ns",
    dim: int = 100,
    window: int = 5,
    negative: int | None = None,
    min_count: int = 5,
    vocab_size: int | None = None,
    phrases: int | None = None,
    phrase_threshold: float | None = None,
    sample: float = 1e-3,
    epochs: int = 5,
    lr: float = 0.025,
    average: bool | None = None,
    noise_exponent: float | None = None,
    lowercase: bool | None = None,
    tokenizer: Path | None = None,
    field: str = "text",
    on_error: str = "error",
    seed: int = 0,
    threads: int | None = None,
    log: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learn a vector for each word of a corpus (word2vec: Mikolov et al. 2013a, 2013b).

    Words are those of `nlpkit.vectors.words`, lower-cased unless ``lowercase`` is False; with a ``tokenizer`` they are
    its pieces, and it decides about case; token files have their pieces. ``phrases`` is how often pairs of words that
    score more than ``phrase_threshold`` (None: 100) are joined (`nlpkit.vectors.phrases`). ``negative`` (None: 5) and
    ``noise_exponent`` (0.75) are for loss ns, ``average`` (None: yes) is for cbow. Words that occur fewer than
    ``min_count`` times, or are not among the ``vocab_size`` most frequent, are dropped before windows are cut. ``lr``
    falls linearly to 0.0001. Sentences are the corpus' own; windows never cross them. A killed run leaves nothing and
    starts over. Errors: UserError for wrong options (one that changes nothing among them), for wrong inputs and for a
    corpus with too few frequent words; RunError when the disk is full or a vector is not finite.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start(
        "vectors train", locals(), inputs=("corpus", "tokenizer"), libraries=engine(method).libraries
    )  # fmt: skip
    if loss != "ns":
        refuse({"negative": negative, "noise_exponent": noise_exponent}, f"loss {loss} draws no negatives")
    if method != "cbow":
        refuse({"average": average}, f"{method} has one word before each prediction")
    given: dict[str, Any] = {"negative": negative, "average": average, "noise_exponent": noise_exponent}
    settings = Settings(
        method, loss, dim=dim, window=window, sample=sample, epochs=epochs, lr=lr,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    settings.check()
    with events.log_to(log):
        found = read(run, dry_run=dry_run)
        vocabulary, text = found.vocabulary, found.text
        if text is None:
            return run.plan(**_cost(vocabulary, settings))
        events.note(
            f"{len(vocabulary.words):,} words of vocabulary are {text.words:,} of the corpus' "
            f"{vocabulary.corpus_words:,}, in {text.sentences:,} sentences"
        )
        weights, measured = _learn(text, vocabulary, settings, seed, threads)
        summary = run.write(
            {"vectors": weights.vectors, settings.output_name: weights.output, "counts": vocabulary.counts},
            kind=KIND, config={**settings.to_json(), **found.config}, tokenizer=found.tokenizer_json,
        )  # fmt: skip
        return {**summary, "vocab_size": len(vocabulary.words), "words": text.words, "loss": measured}


def _learn(
    corpus: Corpus, vocabulary: Vocabulary, settings: Settings, seed: int, threads: int | None
) -> tuple[Weights, float | None]:
    """The weights, and the loss after the last epoch."""
    address = Address(seed, ("vectors",))
    loss = Loss(corpus, vocabulary.counts, settings, address.at("loss"))
    measured: list[float | None] = [None]

    def progress(epoch: int, words: int) -> None:
        done = (epoch - 1) * corpus.words + words
        total = settings.epochs * corpus.words
        events.emit("progress", label=f"epoch {epoch}/{settings.epochs}", done=done, total=total, unit="words")

    def epoch_end(epoch: int, weights: Weights) -> None:
        if not np.isfinite(weights.vectors).all():
            raise RunError(f"the vectors are not finite after epoch {epoch}", hint="a smaller --lr")
        value = measured[0] = loss(weights)
        if value is not None:
            text = f"epoch {epoch}/{settings.epochs}: loss {value:.4f}"
            events.emit("note", text=text, epoch=epoch, words=epoch * corpus.words, loss=value)

    weights = engine(settings.method).train(
        corpus, vocabulary.counts, settings, seed=address.at("train"), threads=threads or default_threads(),
        progress=progress, epoch_end=epoch_end,
    )  # fmt: skip
    return weights, measured[0]


def _cost(vocabulary: Vocabulary, settings: Settings) -> dict[str, Any]:
    """What a dry run tells: sizes, and the memory of the weights and the vocabulary in bytes."""
    words = len(vocabulary.words)
    parameters = (words + settings.output_rows(words)) * settings.dim
    text = int(vocabulary.counts.sum())
    return {
        "vocab_size": words,
        "words": text,
        "corpus_words": vocabulary.corpus_words,
        "parameters": parameters,
        "memory_bytes": 4 * parameters + _BYTES_A_WORD * words,
        "disk_bytes": 4 * text,
    }
