"""A map of words as a picture, by matplotlib (optional: nlpkit[plots]), the same bytes every time.

The user's settings are not read: the font is the one that comes with matplotlib, and no date, program version or random
name gets into the file.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.vectors.queries.labels import Points, place_labels

# One colour for each word of --near (Okabe and Ito 2008: distinct for colour-blind readers), grey-blue for other words.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#7f6000")
_PLAIN, _INK, _LINE, _GRID = "#44546a", "#1c2733", "#9aa5b1", "#e9edf1"
_DPI = 160
_MARGIN, _EDGE, _FOOT = 28.0, 9.0, 24.0  # points around the words, around the frame, and under it for the caption


@dataclass(frozen=True)
class Map:
    """A map to draw: ``points`` [n, 2]; ``groups``: the word of ``near`` whose neighbour each word is, or None."""

    words: list[str]
    points: Points
    groups: list[str | None]
    near: list[str]
    method: str
    explained: list[float] | None


def picture(drawn: Map, form: str) -> bytes:
    """The bytes of a .png or .svg file. Errors: matplotlib is not installed."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
    except ImportError:
        hint = "pip install 'nlpkit[plots]'; coordinates (-o map.csv) need nothing"
        raise UserError("a picture needs matplotlib, which is not installed", hint=hint) from None
    settings = {**matplotlib.rcParamsDefault, "svg.hashsalt": "nlpkit", "svg.fonttype": "none"}
    settings.pop("backend", None)
    with matplotlib.rc_context(settings), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        figure = _figure(drawn)
        (FigureCanvasAgg if form == "png" else FigureCanvasSVG)(figure)
        target = io.BytesIO()
        nameless: dict[str, Any] = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
        figure.savefig(target, format=form, dpi=_DPI, metadata=nameless)
    if form == "png" and any("missing from font" in str(warning.message) for warning in warned):
        events.note("some words have letters that matplotlib's font lacks, and are drawn as boxes; an .svg shows them")
    return target.getvalue()


def _figure(drawn: Map) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.textpath import TextPath

    n = len(drawn.words)
    size = 9.5 if n <= 60 else 8.0 if n <= 150 else 6.5
    width, height = _area(n)
    focus, plain = _font("DejaVuSans-Bold.ttf", "bold"), _font("DejaVuSans.ttf", "normal")
    fonts = [focus if word in drawn.near else plain for word in drawn.words]
    boxes = np.array(
        [
            _extent(TextPath((0, 0), word, size=size, prop=font), size)
            for word, font in zip(_quoted(drawn.words), fonts, strict=True)
        ]
    )
    points = _scaled(drawn.points, (width, height))
    corners, far = place_labels(points, boxes, (width, height))
    whole = np.array((width + 2 * _EDGE, height + _EDGE + _FOOT))
    figure = Figure(figsize=tuple(whole / 72), facecolor="white")
    axes = figure.add_axes((*((_EDGE, _FOOT) / whole), *((width, height) / whole)))
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color(_GRID)
    if drawn.method == "pca":  # axes through the mean of the words; t-SNE has no origin
        origin = _scaled(np.vstack([drawn.points, np.zeros((1, 2))]), (width, height), of=drawn.points)[-1]
        axes.axhline(origin[1], color=_GRID, linewidth=0.9, zorder=0)
        axes.axvline(origin[0], color=_GRID, linewidth=0.9, zorder=0)
    colours = [_PLAIN if group is None else COLOURS[drawn.near.index(group) % len(COLOURS)] for group in drawn.groups]
    for index, label in enumerate(_quoted(drawn.words)):
        point, corner, box = points[index], corners[index], boxes[index]
        if far[index]:
            end = np.clip(point, corner, corner + box)
            axes.plot((point[0], end[0]), (point[1], end[1]), color=_LINE, linewidth=0.5, zorder=1)
        strong = drawn.words[index] in drawn.near
        axes.scatter([point[0]], [point[1]], s=34 if strong else 15, color=colours[index], linewidths=0, zorder=3)
        axes.text(
            corner[0],
            corner[1] + 0.22 * box[1],
            label,
            font=fonts[index],
            size=size,
            va="baseline",
            zorder=4,
            color=colours[index] if strong else _INK,
        )
    figure.text(_EDGE / whole[0], 0.4 * _FOOT / whole[1], _caption(drawn), color="#66727f", font=plain, size=7.5)
    return figure


def _area(n: int) -> tuple[float, float]:
    """Width and height in points: larger for more words."""
    side = float(np.clip(430 + 26 * np.sqrt(n), 480, 1250))
    return side * 1.25, side


def _scaled(points: Points, area: tuple[float, float], *, of: Points | None = None) -> Points:
    """Points scaled to the area, both axes alike, so that distances on paper are those of the projection."""
    of = points if of is None else of
    low, high = of.min(0), of.max(0)
    inner = np.array(area) - 2 * np.array((_MARGIN * 2, _MARGIN))
    scale = float(np.min(inner / np.maximum(high - low, 1e-12)))
    moved: Points = (points - (low + high) / 2) * scale + np.array(area) / 2
    return moved


def _extent(path: Any, size: float) -> tuple[float, float]:
    return float(path.get_extents().x1), 1.15 * size


def _font(name: str, weight: str) -> Any:
    """A font that matplotlib brings along; ``weight`` is written to an .svg, which embeds no fonts."""
    import matplotlib
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), weight=weight)


def _quoted(words: list[str]) -> list[str]:
    """Words with dollar signs escaped: matplotlib would read the text between two of them as mathematics."""
    return [word.replace("$", r"\$") for word in words]


def _caption(drawn: Map) -> str:
    if drawn.explained is None:
        return f"{len(drawn.words):,} words, t-SNE of their directions"
    first, second = drawn.explained
    variance = f"{first:.0%} and {second:.0%} of the variance"
    return f"{len(drawn.words):,} words, the two principal components of their directions: {variance}"
