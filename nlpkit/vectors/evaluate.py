"""nlpkit vectors evaluate: do cosines rank pairs of words as people do, and do differences answer analogies?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit import events
from nlpkit.errors import UserError
from nlpkit.evaluation import intervals
from nlpkit.vectors import testsets
from nlpkit.vectors.file import Vectors, load
from nlpkit.vectors.query import offset
from nlpkit.vectors.testsets import Analogies, Similarity

_SCORES_AT_ONCE = 1 << 24  # cosines in memory together (64 MB)


def evaluate(
    vectors: Path,
    sets: Sequence[Path],
    *,
    restrict_vocab: int | None = None,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure vectors on test sets (`nlpkit.vectors.testsets` has their formats).

    A set of pairs gives ``NAME.spearman``, the rank correlation of cosines with people's scores; a set of analogies
    gives ``NAME.accuracy``, and ``.semantic`` and ``.syntactic`` when some of its sections, but not all,
    are called gram... (Mikolov et al. 2013a, section 4.1). ``restrict_vocab`` answers analogies within the most
    frequent words only. Items with an unknown word are left out and counted: ``sets`` has the coverage. Intervals are
    bootstrapped (95 %).
    Errors: a UserError for a malformed set, and for one of which too little is known to measure anything.
    """
    if restrict_vocab is not None and restrict_vocab < 4:
        raise UserError(f"restrict_vocab is {restrict_vocab}, an analogy needs at least 4 words")
    opened = load(vectors)
    paths = [sets] if isinstance(sets, (str, Path)) else sets
    metrics: dict[str, Any] = {}
    details: list[dict[str, Any]] = []
    for path in map(Path, paths):
        given = testsets.read(path)
        if any(detail["set"] == given.name for detail in details):
            raise UserError(f'two sets are called "{given.name}"', where=path)
        if isinstance(given, Similarity):
            values, detail = _similarity(opened, given, path, resamples, seed)
        else:
            values, detail = _analogies(opened, given, path, restrict_vocab, resamples, seed)
        metrics |= {f"{given.name}.{name}": value.to_json() for name, value in values.items()}
        details.append({"set": given.name, **detail})
    return {"metrics": metrics, "sets": details}


Values = dict[str, intervals.Interval]


def _similarity(
    opened: Vectors, given: Similarity, path: Path, resamples: int, seed: int
) -> tuple[Values, dict[str, Any]]:
    rows = [(opened.find(first), opened.find(second)) for first, second in given.pairs]
    known = np.array([first is not None and second is not None for first, second in rows])
    if known.sum() < 3:
        raise UserError(f"only {known.sum()} of its {len(rows):,} pairs have both words in the vocabulary; "
                        "a rank correlation needs 3", where=path)  # fmt: skip
    first, second = np.array([pair for pair, use in zip(rows, known, strict=True) if use], np.int64).T
    cosines = np.einsum("nd,nd->n", opened.unit[first], opened.unit[second])
    scores = np.array(given.scores)[known]
    if np.ptp(scores) == 0:
        raise UserError("all scores of its known pairs are equal; nothing can be ranked", where=path)
    value = intervals.bootstrap(spearman, scores, cosines, seed=seed, resamples=resamples)
    return {"spearman": value}, {"kind": "similarity", **_coverage(known)}


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The correlation of ranks, ties at their mean rank; NaN when one side has one value only. Shapes: [N]."""
    from scipy.stats import rankdata

    ranks_a, ranks_b = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    scale = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    return float(ranks_a @ ranks_b) / scale if scale > 0 else float("nan")


def _analogies(
    opened: Vectors, given: Analogies, path: Path, restrict: int | None, resamples: int, seed: int
) -> tuple[Values, dict[str, Any]]:
    size = min(restrict or len(opened.words), len(opened.words))
    found = [[opened.find(word) for word in question] for question in given.questions]
    rows = np.array([[-1 if row is None or row >= size else row for row in four] for four in found], np.int64)
    known: NDArray[np.bool_] = np.all(rows >= 0, axis=1)
    if not known.any():
        raise UserError(f"none of its {len(rows):,} analogies has all its words in the vocabulary", where=path)
    correct = answers(opened, rows[known], size) == rows[known, 3]
    section = np.array(given.section)[known]
    values = {"accuracy": intervals.mean(correct, seed=seed, resamples=resamples)}
    syntactic = np.array([name.startswith("gram") for name in given.sections])[section]
    if syntactic.any() and not syntactic.all():
        values["semantic"] = intervals.mean(correct[~syntactic], seed=seed, resamples=resamples)
        values["syntactic"] = intervals.mean(correct[syntactic], seed=seed, resamples=resamples)
    sections = [
        {
            "section": name,
            "items": given.section.count(number),
            "used": int((section == number).sum()),
            "accuracy": float(correct[section == number].mean()) if (section == number).any() else None,
        }
        for number, name in enumerate(given.sections)
    ]
    return values, {"kind": "analogy", **_coverage(known), "sections": sections}


def answers(opened: Vectors, rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """3CosAdd's answer to each question, among the first ``size`` words without the question's. rows [Q, 4] -> [Q]."""
    unit = opened.unit[:size]
    best = np.empty(len(rows), np.int64)
    at_once = max(1, _SCORES_AT_ONCE // size)
    for start in range(0, len(rows), at_once):
        block = rows[start : start + at_once]
        scores = offset(unit, block[:, 0], block[:, 1], block[:, 2]) @ unit.T
        np.put_along_axis(scores, block[:, :3], -np.inf, axis=1)
        best[start : start + at_once] = scores.argmax(1)
        events.emit("progress", label="analogies", done=start + len(block), total=len(rows), unit="questions")
    return best


def _coverage(known: NDArray[np.bool_]) -> dict[str, Any]:
    return {"items": len(known), "used": int(known.sum()), "coverage": float(known.mean())}
