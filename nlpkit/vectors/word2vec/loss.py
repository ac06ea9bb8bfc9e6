"""The loss of word vectors, measured on a fixed sample of the corpus after each epoch.

A loss that kernels add up during training, in float32 and of weights that change, cannot be compared between runs. This
is the mean loss of a prediction in nats, on the same sentences, windows and negatives every time: for hs the exact -log
p(word | context), for ns the objective of Mikolov et al. 2013b (equation 4), for nce that of Mnih and Teh 2012
(equation 8).

Shapes: N words of the sample, P predictions, C the widest context, K negatives, D width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.seeds import Address
from nlpkit.vectors.base import Corpus, Floats, Settings, Weights, keep_probability, noise_distribution
from nlpkit.vectors.word2vec import huffman

SENTENCES = 1000  # drawn from the corpus, with replacement
WORDS = 5000  # at most, of those sentences
_SUMMED = 512  # predictions added up together
_CHUNK = 64  # predictions computed together, to bound the memory

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Loss:
    """Measures the loss of weights on the sample that the constructor drew."""

    def __init__(
        self,
        corpus: Corpus,
        counts: NDArray[np.int64],
        settings: Settings,
        seed: Address,
        tree: huffman.Tree | None = None,
    ) -> None:
        """``tree``: the Huffman tree of the counts; None: loss hs builds it."""
        rng = seed.generator()
        words, sentence = _sample(corpus, rng)
        mask = rng.random(len(words)) < keep_probability(counts, settings.sample)[words]
        words, sentence = words[mask], sentence[mask]
        reach = rng.integers(1, settings.window + 1, len(words))
        centre, other = _windows(sentence, reach, settings.window)
        self.settings = settings
        if settings.method == "cbow":
            self.targets, self.inputs = _grouped(words, centre, other)
        else:
            self.targets, self.inputs = words[centre], words[other][:, None]
        if settings.loss == "hs":
            self.tree = tree or huffman.tree(counts)
        else:
            noise = noise_distribution(counts, settings.noise_exponent)
            self.negatives = rng.choice(len(counts), size=(len(self.targets), settings.negative), p=noise)
            self.noise_scores = np.log(settings.negative * noise)

    @property
    def predictions(self) -> int:
        return len(self.targets)

    def __call__(self, weights: Weights) -> float | None:
        """The mean loss of a prediction in nats; None when the sample holds no pair of words."""
        if not len(self.targets):
            return None
        losses, count = self._tree if self.settings.loss == "hs" else self._sampled, len(self.targets)
        total = 0.0
        for start in range(0, count, _SUMMED):
            end = min(start + _SUMMED, count)
            parts = [losses(weights, slice(first, min(first + _CHUNK, end))) for first in range(start, end, _CHUNK)]
            total += sum(float(np.concatenate(kind).sum()) for kind in zip(*parts, strict=True))
        return total / count

    def _hidden(self, vectors: Floats, part: slice) -> Doubles:
        """The input of each prediction [P, D]: the vector of a word, or the mean (or sum) of the window. -1 is no
        word."""
        inputs = self.inputs[part]
        present = inputs >= 0
        hidden: Doubles = np.einsum("pcd,pc->pd", vectors[inputs].astype(np.float64), present.astype(np.float64))
        return hidden / present.sum(1, keepdims=True) if self.settings.average else hidden

    def _sampled(self, weights: Weights, part: slice) -> tuple[Doubles, ...]:
        """The losses of the words [P] and of their negatives [P, K]."""
        hidden = self._hidden(weights.vectors, part)
        true = np.einsum("pd,pd->p", weights.output[self.targets[part]].astype(np.float64), hidden)
        false = np.einsum("pkd,pd->pk", weights.output[self.negatives[part]].astype(np.float64), hidden)
        if weights.bias is not None:
            shift = weights.bias - self.noise_scores
            true, false = true + shift[self.targets[part]], false + shift[self.negatives[part]]
        # A negative that equals the target does not count.
        false[self.negatives[part] == self.targets[part, None]] = -np.inf
        return _minus_log_sigmoid(true), _minus_log_sigmoid(-false)

    def _tree(self, weights: Weights, part: slice) -> tuple[Doubles, ...]:
        """The losses of the nodes on all paths, one path behind the other."""
        hidden = self._hidden(weights.vectors, part)
        begin, end = self.tree.offsets[self.targets[part]], self.tree.offsets[self.targets[part] + 1]
        prediction = np.repeat(np.arange(len(hidden)), end - begin)
        step = np.arange(len(prediction)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        step_at = begin[prediction] + step
        score = np.einsum("sd,sd->s", weights.output[self.tree.nodes[step_at]].astype(np.float64), hidden[prediction])
        return (_minus_log_sigmoid(np.where(self.tree.codes[step_at] == 0, score, -score)),)


def _sample(corpus: Corpus, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Words of some sentences, and the index of the sentence of each, [N] both."""
    chosen = np.sort(rng.integers(corpus.sentences, size=SENTENCES))
    words: list[Numbers] = []
    for number, row in enumerate(chosen.tolist()):
        start, end = corpus.offsets[row : row + 2].tolist()
        words.append(np.array(corpus.ids[start : min(end, start + WORDS)], np.int64))
        if number % 16 == 0:  # reading a sentence maps the pages around it too
            corpus.forget()
    # In random order, so that a sample that is cut short does not hold the beginning of the corpus only.
    order = rng.permutation(len(words))
    taken = order[np.cumsum([len(words[row]) for row in order]) <= WORDS]
    taken = taken if len(taken) else order[:1]
    lengths = [len(words[row]) for row in taken]
    return np.concatenate([words[row] for row in taken]), np.repeat(np.arange(len(taken)), lengths)


def _windows(sentence: Numbers, reach: Numbers, window: int) -> tuple[Numbers, Numbers]:
    """Positions (centre, other) of all pairs within the centre's reach in one sentence, sorted by centre."""
    position = np.arange(len(sentence))
    pairs = []
    for distance in range(1, window + 1):
        near = position[distance:][sentence[distance:] == sentence[:-distance]]
        pairs += [(near, near - distance), (near - distance, near)]
    centre = np.concatenate([first for first, _ in pairs])
    other = np.concatenate([second for _, second in pairs])
    within = np.abs(centre - other) <= reach[centre]
    order = np.lexsort((other[within], centre[within]))
    return centre[within][order], other[within][order]


def _grouped(words: Numbers, centre: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """CBOW's predictions: targets [P], and the words around each [P, C], padded with -1."""
    centres, first, size = np.unique(centre, return_index=True, return_counts=True)
    inputs = np.full((len(centres), size.max(initial=0)), -1, np.int64)
    row = np.repeat(np.arange(len(centres)), size)
    inputs[row, np.arange(len(centre)) - first[row]] = words[other]
    return words[centres], inputs


def _minus_log_sigmoid(score: Doubles) -> Doubles:
    """-log(1 / (1 + e^-score)), without overflow."""
    return np.logaddexp(0.0, -score)
