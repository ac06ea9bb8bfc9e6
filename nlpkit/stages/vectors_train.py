"""nlpkit vectors train: train word vectors on a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import resume
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.errors import RunError, UserError, choose, refuse
from nlpkit.base.seeds import Address
from nlpkit.base.stop import StopSignal
from nlpkit.base.world import default_threads
from nlpkit.exchange import gensim_vectors
from nlpkit.exchange.tokenizer_opening import tokenizer_of
from nlpkit.machine import heap
from nlpkit.vectors.base import Corpus, Floats, Settings, Weights
from nlpkit.vectors.file import KIND
from nlpkit.vectors.text import subwords
from nlpkit.vectors.text.counting import Vocabulary
from nlpkit.vectors.text.reading import held_out, read
from nlpkit.vectors.word2vec import huffman
from nlpkit.vectors.word2vec.learner import WORDS_A_ROUND, Learner
from nlpkit.vectors.word2vec.loss import Loss

# Engine -> the packages whose version may change the bytes.
ENGINES = {"nlpkit": ("numba", "numpy"), "gensim": gensim_vectors.LIBRARIES}
_BYTES_A_WORD = 100  # of a word's text, count and slot in the tables
_ROWS = 1 << 12  # checked at a time
_ROUNDS = 256  # between two reports of progress, and checks for an interrupt


@stage
def train(
    corpus: Sequence[Path],
    output: Path,
    *,
    engine: str = "nlpkit",
    method: str = "skipgram",
    loss: str = "ns",
    dim: int = 100,
    window: int = 5,
    negative: int | None = None,
    min_count: int = 5,
    vocab_size: int | None = None,
    phrases: int | None = None,
    phrase_threshold: float | None = None,
    subwords: str | None = None,
    buckets: int | None = None,
    sample: float = 1e-3,
    epochs: int = 5,
    patience: int | None = None,
    lr: float = 0.025,
    average: bool | None = None,
    divide: bool | None = None,
    noise_exponent: float | None = None,
    lowercase: bool | None = None,
    strip_accents: bool | None = None,
    tokenizer: Path | None = None,
    dev: Path | None = None,
    field: str = "text",
    on_error: str = "error",
    format: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    save_every: int | None = None,
    log: Path | None = None,
    force: bool = False,
    fresh: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learn a vector for each word of a corpus (word2vec: Mikolov et al. 2013a, 2013b).

    Words are those of `nlpkit.vectors.text.words`, lower-cased unless ``lowercase`` is False; with a ``tokenizer`` they
    are its pieces, and it decides about case; token files have their pieces. ``phrases`` is how often pairs of words
    that score more than ``phrase_threshold`` (None: 100) are joined (`nlpkit.vectors.text.phrases`). ``subwords``
    "3-6": vectors are means of those of n-grams, which share ``buckets`` (None: 262,144) rows
    (`nlpkit.vectors.text.subwords`). ``negative`` (None: 5) and ``noise_exponent`` (0.75) are for the losses ns and
    nce, ``average`` (None: yes) and ``divide`` (no) for cbow (`nlpkit.vectors.base.Settings`). Words that occur fewer
    than ``min_count`` times, or are not among the ``vocab_size`` most frequent, are dropped before windows are cut.
    ``lr`` falls linearly to 0.0001. Sentences are the corpus' own; windows never cross them. ``engine`` "gensim" gives
    the same words and sentences to gensim (`nlpkit.exchange.gensim_vectors`): one worker, its version is recorded, and
    a run that is killed starts over.

    The loss is measured after each epoch on ``dev``, else on a sample of the corpus; with ``patience`` training stops
    after so many epochs without a lower one, and the weights of the lowest are saved. A run that was killed goes on
    from its last save: once a minute, or every ``save_every`` epochs. Errors: UserError for wrong options (one that
    changes nothing among them), for wrong inputs and for a corpus with too few frequent words; RunError when the disk
    is full or a vector is not finite; Interrupted after Ctrl-C or SIGTERM, state saved.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start(
        "vectors train",
        locals(),
        inputs=("corpus", "tokenizer", "dev"),
        libraries=choose(ENGINES, engine, field="engine"),
    )
    settings = _settings(run.options, save_every)
    if engine == "gensim":
        gensim_vectors.check(settings, run.options, save_every)
    if dev is None:
        refuse({"patience": patience}, "nothing is measured on other text", hint="give it with --dev")
    if subwords is None:
        refuse({"buckets": buckets}, "vectors are not made of n-grams", hint="--subwords 3-6 does it")
    with events.log_to(log):
        loaded = tokenizer_of(run)
        source = read(run, loaded, threads=threads, dry_run=dry_run)
        vocabulary, text = source.vocabulary, source.text
        if text is None:
            return run.plan(**_cost(vocabulary, settings, run.options))
        events.note(
            f"{len(vocabulary.words):,} words of vocabulary are {text.words:,} of the corpus' "
            f"{vocabulary.corpus_words:,}, in {text.sentences:,} sentences"
        )
        measured_on = held_out(run, loaded, source)
        weights, final_loss = _learn(run, settings, vocabulary, text, measured_on, threads, save_every)
        tensors: dict[str, Any] = {
            "vectors": weights.vectors,
            settings.output_name: weights.output,
            "counts": vocabulary.counts,
        }
        config = {**settings.to_json(), **source.config}
        if weights.bias is not None:
            tensors["bias"] = weights.bias
        if weights.ngrams is not None:
            tensors["ngrams"] = weights.ngrams
            config |= {"subwords": subwords, "buckets": len(tensors["ngrams"])}
        summary = run.write(tensors, kind=KIND, config=config, tokenizer=source.tokenizer_json)
        resume.discard(run.output)
        return {**summary, "vocab_size": len(vocabulary.words), "words": text.words, "loss": final_loss}


def _learn(
    run: Run,
    settings: Settings,
    vocabulary: Vocabulary,
    text: Corpus,
    measured_on: Corpus | None,
    threads: int | None,
    save_every: int | None,
) -> tuple[Weights, float | None]:
    """The weights, and their loss."""
    seed = Address(run.options["seed"], ("vectors",))
    if run.options["engine"] == "gensim":
        if (threads or 1) > 1:
            events.note("engine gensim: one worker, as the bytes of several depend on who writes last")
        return _gensim(run, settings, vocabulary, text, _sample(run, settings, vocabulary, text, measured_on, seed))
    training = _Training(run, settings, vocabulary, text, measured_on, seed, threads or default_threads())
    weights = training.run_epochs(run.options["patience"], save_every)
    if weights.ngrams is not None:
        weights = replace(weights, ngrams=weights.ngrams[len(vocabulary.words) :])
    return weights, training.final_loss


def _sample(
    run: Run,
    settings: Settings,
    vocabulary: Vocabulary,
    text: Corpus,
    measured_on: Corpus | None,
    seed: Address,
    tree: huffman.Tree | None = None,
) -> Loss:
    """The loss on --dev, or on a sample of the corpus. Errors: --dev holds nothing to predict."""
    loss = Loss(measured_on or text, vocabulary.counts, settings, seed.at("loss"), tree)
    if measured_on and loss.predictions == 0:
        raise UserError("holds no two known words side by side to measure a loss on", where=run.path("dev"))
    return loss


def _gensim(
    run: Run, settings: Settings, vocabulary: Vocabulary, text: Corpus, loss: Loss
) -> tuple[Weights, float | None]:
    resume.load(run)  # an existing state is of other options: refused
    events.note("engine gensim: nothing is saved during the run; a run that is killed starts over")
    losses: list[float | None] = []

    def measure(epoch: int, weights: Weights, tree: huffman.Tree | None) -> None:
        if tree is not None:
            loss.tree = tree
        losses.append(_measured(loss, weights, epoch, settings.epochs, text.words))

    weights = gensim_vectors.learn(vocabulary, text, settings, run.options, measure)
    return weights, losses[-1] if losses else None


def _measured(loss: Loss, weights: Weights, epoch: int, epochs: int, words: int) -> float | None:
    """The loss after an epoch, which is reported too. Errors: RunError when a vector is not finite."""
    if not (_finite(weights.vectors) and _finite(weights.output)):
        raise RunError(f"the vectors are not finite after epoch {epoch}", hint="a smaller --lr")
    value = loss(weights)
    if value is not None:
        text = f"epoch {epoch}/{epochs}: loss {value:.4f}"
        events.emit("note", text=text, epoch=epoch, words=epoch * words, loss=value)
    return value


def _settings(options: dict[str, Any], save_every: int | None) -> Settings:
    """Errors: UserError for invalid options, and for those that would change nothing."""
    particular = {name: options[name] for name in ("negative", "noise_exponent", "average", "divide")}
    if options["loss"] == "hs":
        refuse({name: particular[name] for name in ("negative", "noise_exponent")}, "loss hs draws no negatives")
    if options["method"] != "cbow":
        refuse(
            {name: particular[name] for name in ("average", "divide")},
            f"{options['method']} has one word before each prediction",
        )
    if options["average"] is False:
        refuse({"divide": particular["divide"]}, "the gradient of a sum is not divided")
    if options["subwords"] is not None:
        subwords.parse(options["subwords"], options["buckets"])
    names = ("method", "loss", "dim", "window", "sample", "epochs", "lr")
    settings = Settings(
        **{name: options[name] for name in names},
        **{name: value for name, value in particular.items() if value is not None},
    )
    settings.check()
    return settings


class _Training:
    """A run's learner, its position, and the lowest loss so far."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        vocabulary: Vocabulary,
        text: Corpus,
        measured_on: Corpus | None,
        address: Address,
        threads: int,
    ) -> None:
        self.target, self.settings, self.text = run, settings, text
        grams = None
        if run.options["subwords"] is not None:
            grams = subwords.grams(vocabulary.words, *subwords.parse(run.options["subwords"], run.options["buckets"]))
        counts = vocabulary.counts
        tree = huffman.tree(counts) if settings.loss == "hs" else None
        self.loss = _sample(run, settings, vocabulary, text, measured_on, address, tree)
        text.forget()
        heap.trim()  # the memory of counting and of building the tree
        self.learner = Learner(text, counts, settings, address.at("train"), threads, grams, tree)
        self.position: dict[str, Any] = {"epoch": 1, "round": 0, "best_epoch": 0, "loss": None, "lowest": None}
        self.best: dict[str, np.ndarray[Any, Any]] = {}

    @property
    def final_loss(self) -> float | None:
        """The loss of the weights that are written."""
        lowest: float | None = self.position["lowest" if self.best else "loss"]
        return lowest

    def run_epochs(self, patience: int | None, save_every: int | None) -> Weights:
        """All epochs, from the start or from the state of an unfinished run."""
        self._load()
        position, learner, epochs = self.position, self.learner, self.settings.epochs
        saves = resume.Saves(self.target, save_every)
        with StopSignal() as stop, ThreadPoolExecutor(learner.threads) as pool:
            while position["epoch"] <= epochs and not self._stale(patience):
                epoch, first = position["epoch"], position["round"]
                last = min(learner.rounds, first + _ROUNDS)
                self._progress(first)
                learner.train(epoch, first, last, pool)
                position["round"] = last
                self._progress(last)
                if ended := last == learner.rounds:
                    self._measure(epoch, keep=patience is not None)
                    position |= {"epoch": epoch + 1, "round": 0}
                stopping = stop.requested
                if position["epoch"] <= epochs and (stopping or saves.due(epoch if ended else None)):
                    self._save()
                    saves.saved(stop=stopping, where=f"in epoch {epoch} of {epochs}")
        if self.best:
            learner.load_state(self.best)
        return learner.weights()

    def _stale(self, patience: int | None) -> bool:
        done = self.position["epoch"] - 1
        return patience is not None and done - self.position["best_epoch"] >= patience

    def _measure(self, epoch: int, *, keep: bool) -> None:
        """Measure the loss after an epoch; with ``keep``, copy the weights if it is the lowest so far."""
        position, epochs = self.position, self.settings.epochs
        value = position["loss"] = _measured(self.loss, self.learner.weights(), epoch, epochs, self.text.words)
        if value is not None and keep and (position["lowest"] is None or value < position["lowest"]):
            position |= {"lowest": value, "best_epoch": epoch}
            self.best = {name: array.copy() for name, array in self.learner.state().items()}

    def _progress(self, rounds: int) -> None:
        epoch, epochs, words = self.position["epoch"], self.settings.epochs, self.text.words
        done = (epoch - 1) * words + min(rounds * WORDS_A_ROUND, words)
        events.emit("progress", label=f"epoch {epoch}/{epochs}", done=done, total=epochs * words, unit="words")

    def _save(self) -> None:
        best = {f"best.{name}": array for name, array in self.best.items()}
        resume.save(self.target, {**self.learner.state(), **best}, self.position)

    def _load(self) -> None:
        if saved := resume.load(self.target):
            arrays, position = saved
            self.best = {name[5:]: np.array(arrays.pop(name)) for name in list(arrays) if name.startswith("best.")}
            self.learner.load_state(arrays)
            self.position |= position
            events.note(f"resuming {self.target.output.name} in epoch {position['epoch']} of {self.settings.epochs}")


def _finite(matrix: Floats) -> bool:
    """Whether all values are finite; a few rows at a time, to save memory."""
    return all(np.isfinite(matrix[start : start + _ROWS]).all() for start in range(0, len(matrix), _ROWS))


def _cost(vocabulary: Vocabulary, settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """What a dry run reports: sizes, and the memory of the weights and the vocabulary in bytes."""
    words = len(vocabulary.words)
    rows = 0 if options["subwords"] is None else subwords.parse(options["subwords"], options["buckets"])[2]
    parameters = (words + rows + settings.output_rows(words)) * settings.dim
    text = int(vocabulary.counts.sum())
    return {
        "vocab_size": words,
        "words": text,
        "corpus_words": vocabulary.corpus_words,
        "parameters": parameters,
        "memory_bytes": 4 * parameters * (1 if options["patience"] is None else 2) + _BYTES_A_WORD * words,
        "disk_bytes": 4 * text,
    }
