"""nlpkit vectors evaluate: similarity (rank correlation of cosines with human scores) and analogies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.measure import intervals
from nlpkit.measure.intervals import Interval
from nlpkit.vectors.file import Floats, Vectors, load
from nlpkit.vectors.queries import testsets
from nlpkit.vectors.queries.query import SCORES
from nlpkit.vectors.queries.testsets import Analogies, Pairs

_SCORES_AT_ONCE = 1 << 24  # scores held in memory at once (64 MB)

Answer = Callable[[Floats, NDArray[np.int64], int], Floats]


def evaluate(
    vectors: Path,
    sets: Sequence[Path],
    *,
    restrict_vocab: int | None = None,
    analogy_score: str | None = None,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure vectors on test sets (`nlpkit.vectors.queries.testsets` has their formats).

    A set of pairs gives ``NAME.spearman``, the rank correlation of cosines with human scores; a set of analogies
    gives ``NAME.accuracy``, and ``.semantic`` and ``.syntactic`` when some of its sections, but not all,
    are called gram... (Mikolov et al. 2013a, section 4.1). ``restrict_vocab`` answers analogies within the most
    frequent words only, ``analogy_score`` (None: add) by one of `nlpkit.vectors.queries.query.SCORES`. Items with an
    unknown word are left out and counted; vectors of n-grams know every word, but answer analogies with those of the
    vocabulary only. ``sets`` has the coverage of each set and, under ``relations``, of each of its relations: their
    accuracy, or their mean cosine, the median rank of the second word among the first's neighbours (1: the nearest) and
    the correlation. Intervals are bootstrapped (95 %). Errors: a UserError for a malformed set, for one with
    too few known words, and for an option of analogies without a set of analogies.
    """
    if restrict_vocab is not None and restrict_vocab < 4:
        raise UserError(f"restrict_vocab is {restrict_vocab}, an analogy needs at least 4 words")
    answer = choose(SCORES, analogy_score or "add", field="analogy-score")
    paths = [Path(path) for path in ([sets] if isinstance(sets, (str, Path)) else sets)]
    test_sets = [testsets.read(path) for path in paths]
    if not any(isinstance(test_set, Analogies) for test_set in test_sets):
        refuse({"restrict_vocab": restrict_vocab, "analogy_score": analogy_score}, "no set holds analogies")
    opened = _opened(vectors, test_sets)
    draws = Draws(resamples, seed)
    metrics: dict[str, Any] = {}
    details: list[dict[str, Any]] = []
    for path, test_set in zip(paths, test_sets, strict=True):
        if any(detail["set"] == test_set.name for detail in details):
            raise UserError(f'two sets are called "{test_set.name}"', where=path)
        if isinstance(test_set, Pairs):
            values, detail = _pairs(opened, test_set, path, draws)
        else:
            values, detail = _analogies(opened, test_set, path, restrict_vocab, answer, draws)
        metrics |= {f"{test_set.name}.{name}": value.to_json() for name, value in values.items()}
        details.append({"set": test_set.name, **detail})
    return {"metrics": metrics, "sets": details}


def _opened(path: Path, test_sets: Sequence[Pairs | Analogies]) -> Vectors:
    items = [test_set.pairs if isinstance(test_set, Pairs) else test_set.questions for test_set in test_sets]
    opened = load(path).with_oov(word for questions in items for question in questions for word in question)
    if opened.oov:
        events.note(
            f"{len(opened.oov):,} words of the sets are out of vocabulary; their vectors are the means of their n-grams"
        )
    return opened


@dataclass(frozen=True)
class Draws:
    """The number of bootstrap resamples of an interval, and their seed."""

    resamples: int
    seed: int

    def mean(self, values: NDArray[Any]) -> Interval:
        return intervals.mean(values, seed=self.seed, resamples=self.resamples)

    def of(self, statistic: Callable[..., float], *arrays: NDArray[Any]) -> Interval:
        return intervals.bootstrap(statistic, *arrays, seed=self.seed, resamples=self.resamples)


Values = dict[str, Interval]


def _pairs(opened: Vectors, test_set: Pairs, path: Path, draws: Draws) -> tuple[Values, dict[str, Any]]:
    rows = [(opened.find(first), opened.find(second)) for first, second in test_set.pairs]
    known = np.array([first is not None and second is not None for first, second in rows])
    needed = 1 if test_set.scores is None else 3
    if known.sum() < needed:
        raise UserError(
            f"only {known.sum()} of its {len(rows):,} pairs have both words in the vocabulary; "
            f"{'a rank correlation needs 3' if test_set.scores else 'one is needed'}",
            where=path,
        )
    pairs = np.array([pair for pair, kept in zip(rows, known, strict=True) if kept], np.int64)
    cosines = np.einsum("nd,nd->n", opened.unit[pairs[:, 0]], opened.unit[pairs[:, 1]])
    scores = None if test_set.scores is None else np.array(test_set.scores)[known]
    if scores is not None and np.ptp(scores) == 0:
        raise UserError("all scores of its known pairs are equal; nothing can be ranked", where=path)
    values = {} if scores is None else {"spearman": draws.of(spearman, scores, cosines)}
    detail = {"kind": "similarity", **_coverage(known)}
    if test_set.relation is not None:
        names = np.array(test_set.relation)
        ranks = neighbour_ranks(opened, pairs)
        detail["relations"] = [
            {
                "relation": name,
                **_coverage(known[names == name]),
                **_related(names[known] == name, cosines, ranks, scores, draws),
            }
            for name in dict.fromkeys(test_set.relation)
        ]
    return values, detail


def _related(
    selected: NDArray[np.bool_], cosines: Floats, ranks: NDArray[np.int64], scores: NDArray[Any] | None, draws: Draws
) -> dict[str, Any]:
    """The measurements of the pairs of one relation, ``selected`` [n]; None where there are too few pairs."""
    some = bool(selected.any())
    alike = scores is not None and selected.sum() >= 3 and np.ptp(scores[selected]) > 0
    measured = {
        "cosine": draws.mean(cosines[selected]) if some else None,
        "rank": draws.of(lambda drawn: float(np.median(drawn)), ranks[selected]) if some else None,
        "spearman": draws.of(spearman, scores[selected], cosines[selected]) if alike and scores is not None else None,
    }
    return {name: None if value is None else value.to_json() for name, value in measured.items()}


def neighbour_ranks(opened: Vectors, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of the second word among the first's neighbours: how many are nearer, plus one. pairs [n, 2] -> [n]."""
    unit, ranks = opened.unit, np.empty(len(pairs), np.int64)
    words = len(opened.words)
    at_once = max(1, _SCORES_AT_ONCE // words)
    for start in range(0, len(pairs), at_once):
        first, second = pairs[start : start + at_once].T
        cosines = unit[first] @ unit[:words].T
        first_known, second_known = first < words, second < words
        threshold = np.einsum("nd,nd->n", unit[first], unit[second])
        # From the same product as the others, so that equal cosines compare as equal.
        threshold[second_known] = cosines[second_known, second[second_known]]
        cosines[first_known, first[first_known]] = -np.inf
        ranks[start : start + at_once] = (cosines > threshold[:, None]).sum(1) + 1
        events.emit("progress", label="neighbours", done=start + len(first), total=len(pairs), unit="pairs")
    return ranks


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The correlation of ranks, ties at their mean rank; NaN when one side has one value only. Shapes: [N]."""
    from scipy.stats import rankdata

    ranks_a, ranks_b = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    scale = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    return float(ranks_a @ ranks_b) / scale if scale > 0 else float("nan")


def _analogies(
    opened: Vectors, test_set: Analogies, path: Path, restrict: int | None, answer: Answer, draws: Draws
) -> tuple[Values, dict[str, Any]]:
    size = min(restrict or len(opened.words), len(opened.words))
    questions = [[opened.find(word) for word in question] for question in test_set.questions]
    rows = np.array(
        [[-1 if row is None or size <= row < len(opened.words) else row for row in four] for four in questions],
        np.int64,
    )
    known: NDArray[np.bool_] = np.all(rows >= 0, axis=1) & (rows[:, 3] < size)
    if not known.any():
        raise UserError(f"none of its {len(rows):,} analogies has all its words in the vocabulary", where=path)
    correct = answers(opened, rows[known], size, answer) == rows[known, 3]
    all_sections = np.array(test_set.section)
    section = all_sections[known]
    values = {"accuracy": draws.mean(correct)}
    syntactic = np.array([name.startswith("gram") for name in test_set.sections])[section]
    if syntactic.any() and not syntactic.all():
        values["semantic"], values["syntactic"] = draws.mean(correct[~syntactic]), draws.mean(correct[syntactic])
    relations = []
    for number, name in enumerate(test_set.sections):
        of_section = correct[section == number]
        accuracy = draws.mean(of_section).to_json() if len(of_section) else None
        relations.append({"relation": name, **_coverage(known[all_sections == number]), "accuracy": accuracy})
    return values, {"kind": "analogy", **_coverage(known), "relations": relations}


def answers(opened: Vectors, rows: NDArray[np.int64], size: int, answer: Answer) -> NDArray[np.int64]:
    """The answer to each question, among the first ``size`` words without the question's. rows [Q, 4] -> [Q]."""
    best = np.empty(len(rows), np.int64)
    at_once = max(1, _SCORES_AT_ONCE // size)
    for start in range(0, len(rows), at_once):
        block = rows[start : start + at_once]
        scores = answer(opened.unit, block, size)
        for words in block[:, :3].T:
            known = words < size
            scores[known, words[known]] = -np.inf
        best[start : start + at_once] = scores.argmax(1)
        events.emit("progress", label="analogies", done=start + len(block), total=len(rows), unit="questions")
    return best


def _coverage(known: NDArray[np.bool_]) -> dict[str, Any]:
    """The coverage of items [n]; 0 for a section without questions."""
    return {"items": len(known), "used": int(known.sum()), "coverage": float(known.mean()) if len(known) else 0.0}
