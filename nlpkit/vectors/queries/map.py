"""nlpkit vectors map: chosen words in two dimensions, as a picture or as a table of coordinates.

Shapes: n words, D width.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.artifact import atomic
from nlpkit.artifact.paths import check_apart
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.data.corpus import documents
from nlpkit.vectors.file import Vectors, load
from nlpkit.vectors.queries.labels import Points
from nlpkit.vectors.queries.picture import Map, picture
from nlpkit.vectors.queries.query import ranked

K = 30  # neighbours of each word of --near by default
MOST = 1000  # words of a map; more would be unreadable


def map_words(
    vectors: Path,
    output: Path,
    words: Sequence[str] | None = None,
    *,
    words_from: Path | None = None,
    near: Sequence[str] | None = None,
    k: int | None = None,
    top: int | None = None,
    method: str = "pca",
    force: bool = False,
) -> dict[str, Any]:
    """Put words on a plane and write it: a picture (``output`` ends in .png or .svg) or coordinates (.csv).

    The words are all of these: ``words``, the lines of the file ``words_from`` (a note names unknown ones),
    each word of ``near`` with its ``k`` (None: 30) nearest, and the ``top`` most frequent. With n-grams no word is
    unknown. ``method`` is one of `METHODS`. Returns ``{"output", "kind", "bytes", "method", "explained", "points":
    [{"word", "x", "y", "group"}]}``; ``explained`` is the fraction of the variance along each axis (pca), ``group``
    the word of ``near`` whose neighbour a word is.
    Errors: an unknown word, fewer than three words, an ending of another kind; matplotlib is needed for pictures.
    """
    project = choose(METHODS, method, field="method")
    output = Path(output)
    if str(output) == "-":
        raise UserError("a result is a file, it cannot go to stdout", where="-o -")
    writer = choose(WRITERS, output.suffix.lower(), field="ending", where=output)
    check_apart({"vectors": vectors, "words_from": words_from, "output": output})
    atomic.check_target(output, force=force)
    if not near:
        refuse({"k": k}, "it counts the neighbours of --near")
    words, near = ([value] if isinstance(value, str) else list(value or ()) for value in (words, near))
    listed = [] if words_from is None else _listed(words_from)
    opened = load(vectors).with_oov([*words, *near, *listed])
    if unknown := [word for word in listed if opened.find(word) is None]:
        events.note(f"{words_from}: {len(unknown):,} of {len(listed):,} words have no vector: {_some(unknown)}")
    words += [word for word in listed if opened.find(word) is not None]
    groups = _chosen(opened, words, near, K if k is None else k, top)
    events.emit("stage", name="vectors map", output=str(output))
    rows = list(groups)
    points, explained = project(opened.unit[rows].astype(np.float64))
    names = dict(zip(opened.oov.values(), opened.oov, strict=True))
    drawn = Map(
        [names.get(row) or opened.words[row] for row in rows], points, list(groups.values()), near, method, explained
    )
    with atomic.writing(output) as file:
        file.write(writer(drawn))
    entries = [
        {"word": word, "x": round(float(x), 6), "y": round(float(y), 6), "group": group}
        for word, (x, y), group in zip(drawn.words, points, drawn.groups, strict=True)
    ]
    return {
        "output": str(output),
        "kind": "map",
        "bytes": output.stat().st_size,
        "method": method,
        "explained": explained,
        "points": entries,
    }


def _listed(path: Path) -> list[str]:
    return [line.strip() for document in documents([path], on_error="error") for line in document.sentences]


def _chosen(
    opened: Vectors, words: Sequence[str], near: Sequence[str], k: int, top: int | None
) -> dict[int, str | None]:
    """Rows of the words to be drawn, in the order of the arguments, and the group of each."""
    groups: dict[int, str | None] = {}
    for word in near:
        row = opened.row(word)
        groups.setdefault(row, word)
        groups[row] = word
        for other in ranked(opened, opened.unit[row], k, without={row}):
            groups.setdefault(opened.ids[other["word"]], word)
    for word in words:
        groups.setdefault(opened.row(word), None)
    for row in range(min(top or 0, len(opened.words))):
        groups.setdefault(row, None)
    if not 3 <= len(groups) <= MOST:
        raise UserError(
            f"{len(groups):,} words are requested; a map shows 3 to {MOST:,}",
            hint="name words, or give --near WORD, --words-from FILE or --top N",
        )
    return groups


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")


def pca(vectors: Points) -> tuple[Points, list[float]]:
    """The two directions in which the words differ most (principal components). Shapes: [n, D] -> [n, 2].

    A direction has no sign of its own: the word farthest out on an axis is on its positive side.
    """
    centred = vectors - vectors.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    points: Points = np.zeros((len(vectors), 2))
    points[:, : min(2, len(scale))] = left[:, :2] * scale[:2]
    farthest = points[np.abs(points).argmax(0), [0, 1]]
    total = float((scale**2).sum()) or 1.0
    explained = [float(value) for value in (scale[:2] ** 2 / total)]
    return points * np.where(farthest < 0, -1, 1), [*explained, 0.0][:2]


def tsne(vectors: Points) -> tuple[Points, None]:
    """t-SNE (van der Maaten and Hinton 2008) by scikit-learn: near words stay near, other distances say little.

    It starts from `pca` instead of random numbers, and the gradient is exact, so that the same words give the same map.
    """
    from sklearn.manifold import TSNE

    begin = pca(vectors)[0]
    begin = begin / (begin[:, 0].std() or 1.0) * 1e-4
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    model = TSNE(2, init=begin, perplexity=perplexity, learning_rate="auto", method="exact", random_state=0)
    return np.asarray(model.fit_transform(vectors), np.float64), None


METHODS: dict[str, Callable[[Points], tuple[Points, list[float] | None]]] = {"pca": pca, "tsne": tsne}


def _picture(form: str) -> Callable[[Map], bytes]:
    def draw(drawn: Map) -> bytes:
        return picture(drawn, form)

    return draw


def _table(drawn: Map) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    rows: Iterable[Sequence[Any]] = zip(drawn.words, drawn.points, drawn.groups, strict=True)
    table.writerow(("word", "x", "y", "group"))
    table.writerows((word, f"{x:.6g}", f"{y:.6g}", group or "") for word, (x, y), group in rows)
    return text.getvalue().encode("utf-8")


WRITERS: dict[str, Callable[[Map], bytes]] = {".png": _picture("png"), ".svg": _picture("svg"), ".csv": _table}
