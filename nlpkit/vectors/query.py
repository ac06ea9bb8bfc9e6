"""nlpkit vectors nearest, nlpkit vectors analogy: the geometry of word vectors.

Both rank by cosine, ties by frequency (rows are in that order).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.errors import UserError
from nlpkit.vectors.file import Floats, Vectors, load


def nearest(vectors: Path, words: Sequence[str], *, k: int = 10) -> dict[str, Any]:
    """The ``k`` words nearest to each of ``words``, by cosine.

    Returns ``{"nearest": [{"word": ..., "words": [{"word", "cosine"}, ...]}, ...]}``, an entry for each of ``words``,
    the nearest first and without the word itself. Errors: an unknown word is a UserError with the nearest spelling.
    """
    opened = load(vectors)
    _check_k(k)
    words = [words] if isinstance(words, str) else list(words)
    rows = [opened.row(word) for word in words]
    return {
        "nearest": [
            {"word": word, "words": ranked(opened, opened.unit[row], k, without={row})}
            for word, row in zip(words, rows, strict=True)
        ]
    }


def analogy(vectors: Path, a: str, b: str, c: str, *, k: int = 10) -> dict[str, Any]:
    """a is to b as c is to ...? The ``k`` words with the largest cosine to b - a + c, without the three.

    3CosAdd (Mikolov et al. 2013c; named so by Levy and Goldberg 2014, section 3) on vectors of length one. Returns
    ``{"a", "b", "c", "answers": [{"word", "cosine"}, ...]}``. Errors: an unknown word is a UserError.
    """
    opened = load(vectors)
    _check_k(k)
    rows = [opened.row(word) for word in (a, b, c)]
    answers = ranked(opened, offset(opened.unit, *rows), k, without=rows)
    return {"a": a, "b": b, "c": c, "answers": answers}


def offset(unit: Floats, a: Any, b: Any, c: Any) -> Floats:
    """b - a + c of unit vectors, not scaled. Shapes: unit [V, D]; a, b, c one row or [Q] -> [D] or [Q, D]."""
    return np.asarray(unit[b] - unit[a] + unit[c])


def ranked(opened: Vectors, target: Floats, k: int, *, without: Collection[int]) -> list[dict[str, Any]]:
    """The ``k`` words with the largest cosine to ``target`` [D], but for the rows ``without``."""
    length = float(np.linalg.norm(target))
    cosines = opened.unit @ (target / length if length > 0 else target)
    cosines[list(without)] = -np.inf
    k = min(k, len(cosines) - len(set(without)))
    found = np.argpartition(-cosines, k - 1)[:k] if 0 < k < len(cosines) else np.arange(len(cosines))
    found = found[np.lexsort((found, -cosines[found]))][:k]
    return [{"word": opened.words[row], "cosine": round(float(cosines[row]), 6)} for row in found.tolist()]


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"k is {k}, expected at least 1")
