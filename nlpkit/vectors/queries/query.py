"""nlpkit vectors nearest, nlpkit vectors analogy: the geometry of word vectors.

Both rank by cosine, ties by frequency (rows are in that order). Shapes: V words, D width, Q questions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import limits
from nlpkit.base.errors import choose
from nlpkit.vectors.file import Floats, Vectors, load

EPSILON = 1e-3  # keeps 3CosMul's denominator above zero (Levy and Goldberg 2014, section 6.2)


def nearest(
    vectors: Path,
    words: Sequence[str],
    *,
    plus: Sequence[str] | None = None,
    minus: Sequence[str] | None = None,
    k: int = 10,
) -> dict[str, Any]:
    """The ``k`` words nearest to each of ``words``, by cosine.

    The vectors of ``plus`` are added to each word's and those of ``minus`` subtracted, all of unit length. Returns
    ``{"nearest": [{"word": ..., "words": [{"word", "cosine"}, ...]}, ...], "plus", "minus"}``, an entry for each of
    ``words``, the nearest first, without the words of the query. Errors: an unknown word is a UserError with
    the nearest spelling.
    """
    limits.check("vectors nearest", {"k": k})
    words, plus, minus = ([value] if isinstance(value, str) else list(value or ()) for value in (words, plus, minus))
    opened = load(vectors).with_oov([*words, *plus, *minus])
    rows, added, subtracted = ([opened.row(word) for word in names] for names in (words, plus, minus))
    shift = opened.unit[added].sum(0) - opened.unit[subtracted].sum(0)
    results = [
        {"word": word, "words": ranked(opened, opened.unit[row] + shift, k, without={row, *added, *subtracted})}
        for word, row in zip(words, rows, strict=True)
    ]
    return {"nearest": results, "plus": plus, "minus": minus}


def analogy(vectors: Path, a: str, b: str, c: str, *, k: int = 10, analogy_score: str | None = None) -> dict[str, Any]:
    """a is to b as c is to ...? The ``k`` words with the largest score, without the three.

    ``analogy_score`` (None: add) is one of `SCORES`. Returns ``{"a", "b", "c", "analogy_score", "answers": [{"word",
    "score"}, ...]}``. Errors: an unknown word or score is a UserError.
    """
    score_name = analogy_score or "add"
    score = choose(SCORES, score_name, field="analogy-score")
    limits.check("vectors analogy", {"k": k})
    opened = load(vectors).with_oov([a, b, c])
    rows = [opened.row(word) for word in (a, b, c)]
    scores = score(opened.unit, np.array([rows]), len(opened.words))[0]
    answers = [{"word": opened.words[row], "score": value} for row, value in _best(scores, k, without=rows)]
    return {"a": a, "b": b, "c": c, "analogy_score": score_name, "answers": answers}


def cos_add(unit: Floats, questions: NDArray[np.int64], words: int) -> Floats:
    """3CosAdd (Mikolov et al. 2013c; Levy and Goldberg 2014, section 3): cosines of the first V rows to b - a + c.

    Shapes: unit [V or more, D], unit vectors; questions [Q, 3 or more], rows of a, b and c; V is ``words``
    -> [Q, V].
    """
    a, b, c = questions[:, 0], questions[:, 1], questions[:, 2]
    target = unit[b] - unit[a] + unit[c]
    length = np.linalg.norm(target, axis=1, keepdims=True)
    return np.asarray((target / np.where(length > 0, length, 1)) @ unit[:words].T)


def cos_mul(unit: Floats, questions: NDArray[np.int64], words: int) -> Floats:
    """3CosMul (Levy and Goldberg 2014, section 6.2, equation 4): cos(x, b) cos(x, c) / (cos(x, a) + epsilon), where
    cosines are mapped from [-1, 1] to [0, 1]. Shapes: those of `cos_add`.
    """
    scores = _shifted_cosines(unit, questions[:, 1], words)
    scores *= _shifted_cosines(unit, questions[:, 2], words)
    scores /= _shifted_cosines(unit, questions[:, 0], words) + np.float32(EPSILON)
    return scores


def _shifted_cosines(unit: Floats, rows: NDArray[np.int64], words: int) -> Floats:
    return np.asarray((1 + unit[rows] @ unit[:words].T) / 2)


# Scores of analogies: name -> function that scores every word.
SCORES = {"add": cos_add, "mul": cos_mul}


def ranked(opened: Vectors, target: Floats, k: int, *, without: Collection[int]) -> list[dict[str, Any]]:
    """The ``k`` words with the largest cosine to ``target`` [D], except the rows ``without``."""
    length = float(np.linalg.norm(target))
    cosines = opened.unit[: len(opened.words)] @ (target / np.float32(length) if length > 0 else target)
    return [{"word": opened.words[row], "cosine": value} for row, value in _best(cosines, k, without=without)]


def _best(scores: NDArray[Any], k: int, *, without: Collection[int]) -> list[tuple[int, float]]:
    """The ``k`` rows with the largest scores [V], the largest first, except the rows ``without``."""
    without = {row for row in without if row < len(scores)}
    scores[list(without)] = -np.inf
    k = min(k, len(scores) - len(without))
    order = np.argpartition(-scores, k - 1)[:k] if 0 < k < len(scores) else np.arange(len(scores))
    order = order[np.lexsort((order, -scores[order]))][:k]
    return [(row, round(float(scores[row]), 6)) for row in order.tolist()]
