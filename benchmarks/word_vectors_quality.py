"""How good word vectors are, by one function for every tool: people's judgements, analogies, and a held-out loss.

Every model is put in one order of words (most frequent first, equals by their code points), so that ties cannot help
one of them. The held-out loss is of lines that no tool has trained on, with the same windows and the same negatives for
all: for hierarchical softmax the exact -log p(word | context) under the tool's own tree, for negative sampling the
objective of Mikolov et al. 2013b (equation 4), in 64 bits.

Shapes: V words, D width, P predictions, C the widest context, K negatives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from nlpkit.artifact import file
from nlpkit.vectors.base import keep_probability, noise_distribution
from nlpkit.vectors.file import Vectors
from nlpkit.vectors.queries import testsets
from nlpkit.vectors.word2vec import huffman

RESTRICT = 30_000  # analogies are answered among the most frequent words
HELD_WORDS = 50_000  # after subsampling
AT_ONCE = 2048  # predictions


@dataclass(frozen=True)
class Model:
    """What a tool learnt, in the common order; ``output`` is [V, D] for ns, of inner nodes for hs with its ``tree``."""

    words: list[str]
    counts: np.ndarray
    vectors: np.ndarray
    output: np.ndarray | None
    tree: huffman.Tree | None

    @property
    def vocabulary(self) -> str:
        """A sha256 that two tools share when they saw the same words as often."""
        text = "\n".join(f"{word} {count}" for word, count in zip(self.words, self.counts.tolist(), strict=True))
        return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path, loss: str) -> Model:
    """The file of ``nlpkit vectors train``, or the .npz of a peer."""
    if path.suffix == ".safetensors":
        artifact = file.read(path, kind="vectors")
        words, counts = artifact.config["words"], artifact.array("counts")
        output = artifact.array("context" if loss == "ns" else "nodes")
        tree = huffman.tree(np.asarray(counts)) if loss == "hs" else None
        return in_order(Model(words, counts, artifact.array("vectors"), output, tree))
    with np.load(path) as saved:
        parts = {name: saved[name] for name in saved.files}
    tree = huffman.Tree(parts["nodes"], parts["codes"], parts["offsets"]) if "nodes" in parts else None
    return in_order(Model(parts["words"].tolist(), parts["counts"], parts["vectors"], parts.get("output"), tree))


def in_order(model: Model) -> Model:
    """The same in the common order, without fastText's mark of a line's end."""
    rows = [row for row, word in enumerate(model.words) if word != "</s>"]
    rows.sort(key=lambda row: (-model.counts[row], model.words[row]))
    output, tree = model.output, model.tree
    if tree is None:
        output = None if output is None else output[rows]
    else:
        paths = [tree.path(row) for row in rows]
        nodes, codes = (np.concatenate(part) for part in zip(*paths, strict=True))
        tree = huffman.Tree(nodes, codes, np.cumsum([0, *(len(path) for path, _ in paths)]))
    words = [model.words[row] for row in rows]
    return replace(
        model,
        words=words,
        counts=np.asarray(model.counts)[rows].astype(np.int64),
        vectors=model.vectors[rows],
        output=output,
        tree=tree,
    )


def judgements(model: Model) -> dict[str, float]:
    """Spearman's correlation on WordSim-353 and SimLex-999, accuracy on the analogies (the sets in gensim's wheel)."""
    spec = find_spec("gensim")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "test" / "test_data"
    opened = Vectors(model.words, model.vectors, model.counts, {"lowercase": True})
    found: dict[str, float] = {}
    for name, source in (("wordsim", "wordsim353.tsv"), ("simlex", "simlex999.txt")):
        pairs = testsets.read(folder / source)
        rows = [
            (opened.find(a), opened.find(b), score) for (a, b), score in zip(pairs.pairs, pairs.scores, strict=True)
        ]
        first, second, scores = zip(*(row for row in rows if None not in row), strict=True)
        cosines = np.einsum("nd,nd->n", opened.unit[list(first)], opened.unit[list(second)])
        found[name], found[f"{name}_used"] = float(spearmanr(scores, cosines).statistic), len(scores)
    given = testsets.read(folder / "questions-words.txt")
    size = min(RESTRICT, len(model.words))
    lines = [[opened.find(word) for word in question] for question in given.questions]
    ids = np.array([[-1 if row is None or row >= size else row for row in line] for line in lines])
    known = (ids >= 0).all(1)
    correct = answers(opened.unit[:size], ids[known]) == ids[known, 3]
    grammar = np.array([given.sections[number].startswith("gram") for number in given.section])[known]
    return {
        **found,
        "analogies": float(correct.mean()),
        "semantic": float(correct[~grammar].mean()),
        "syntactic": float(correct[grammar].mean()),
        "analogies_used": int(known.sum()),
    }


def answers(unit: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """3CosAdd (Mikolov et al. 2013c): the word nearest to b - a + c, without the three. questions [Q, 4] -> [Q]."""
    best = np.empty(len(questions), np.int64)
    for start in range(0, len(questions), AT_ONCE):
        a, b, c, _ = questions[start : start + AT_ONCE].T
        scores = (unit[b] - unit[a] + unit[c]) @ unit.T
        for row in (a, b, c):
            scores[np.arange(len(scores)), row] = -np.inf
        best[start : start + AT_ONCE] = scores.argmax(1)
    return best


def held_out(model: Model, text: Path, *, method: str, window: int, negative: int, sample: float) -> float | None:
    """Nats of one prediction on held-out lines; None when the tool shows no output side."""
    if model.output is None:
        return None
    rng = np.random.default_rng(0)
    contexts, targets = predictions(model, text, method, window, sample, rng)
    drawn = rng.choice(len(model.words), (len(targets), negative), p=noise_distribution(model.counts, 0.75))
    score = _tree(model) if model.tree is not None else _sampling(model, drawn)
    total = 0.0
    for start in range(0, len(targets), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        inputs, present = contexts[part], contexts[part] >= 0
        hidden = np.einsum("pcd,pc->pd", model.vectors[inputs].astype(np.float64), present.astype(np.float64))
        total += score(hidden / present.sum(1, keepdims=True), targets[part], part)
    return total / len(targets)


def predictions(
    model: Model, text: Path, method: str, window: int, sample: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What predicts, [P, C] filled up with -1, and what is predicted, [P]."""
    ids = {word: row for row, word in enumerate(model.words)}
    keep = keep_probability(model.counts, sample)
    contexts: list[list[int]] = []
    targets: list[int] = []
    for line in _held_lines(text, ids, keep, rng):
        for place, reach in enumerate(rng.integers(1, window + 1, len(line)).tolist()):
            around = line[max(0, place - reach) : place] + line[place + 1 : place + reach + 1]
            if not around:
                continue
            given = [around] if method == "cbow" else [[word] for word in around]
            contexts += given
            targets += [line[place]] * len(given)
    padded = np.full((len(contexts), max(map(len, contexts))), -1, np.int64)
    for row, around in enumerate(contexts):
        padded[row, : len(around)] = around
    return padded, np.array(targets, np.int64)


def _held_lines(text: Path, ids: dict[str, int], keep: np.ndarray, rng: np.random.Generator) -> Iterator[list[int]]:
    words = 0
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            known = [ids[word] for word in line.split() if word in ids]
            kept = [row for row, draw in zip(known, rng.random(len(known)), strict=True) if draw < keep[row]]
            yield kept
            words += len(kept)
            if words >= HELD_WORDS:
                return


Score = Callable[[np.ndarray, np.ndarray, slice], float]


def _sampling(model: Model, drawn: np.ndarray) -> Score:
    output: Any = model.output

    def score(hidden: np.ndarray, targets: np.ndarray, part: slice) -> float:
        true = np.einsum("pd,pd->p", output[targets].astype(np.float64), hidden)
        false = np.einsum("pkd,pd->pk", output[drawn[part]].astype(np.float64), hidden)
        false[drawn[part] == targets[:, None]] = -np.inf  # a negative that hits the target is no draw
        return float(np.logaddexp(0, -true).sum() + np.logaddexp(0, false).sum())

    return score


def _tree(model: Model) -> Score:
    output: Any = model.output
    tree: Any = model.tree

    def score(hidden: np.ndarray, targets: np.ndarray, part: slice) -> float:
        begin, size = tree.offsets[targets], tree.offsets[targets + 1] - tree.offsets[targets]
        row = np.repeat(np.arange(len(targets)), size)
        place = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size) + begin[row]
        scores = np.einsum("sd,sd->s", output[tree.nodes[place]].astype(np.float64), hidden[row])
        return float(np.logaddexp(0, np.where(tree.codes[place] == 0, -scores, scores)).sum())

    return score
