"""One learning chart as SVG: lines of several runs on common axes.

It is complete without a script: axes, lines, a letter at the end of each line. A script adds the values under the
pointer, from the points that `drawn` gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nlpkit.reporting.html import Markup, tag
from nlpkit.reporting.log import Points

WIDTH, HEIGHT = 360, 214
LEFT, RIGHT, TOP, BOTTOM = 46, 28, 10, 34
BUCKETS = 200  # of each of which a line keeps the lowest and the highest point
COLOURS = 8  # in page.css


@dataclass(frozen=True)
class Line:
    """One run's values. ``run`` is its number (colour and letter), ``dev`` marks measurements between training steps,
    ``best`` is the x of the best one."""

    run: int
    points: list[tuple[float, float]]
    dev: bool = False
    best: float | None = None


@dataclass
class Chart:
    """Lines with a title; ``x`` names the axis."""

    title: str
    x: str
    lines: list[Line] = field(default_factory=list)


def letter(run: int) -> str:
    """A, B ... Z, AA, AB ..."""
    name = ""
    run += 1
    while run:
        run, rest = divmod(run - 1, 26)
        name = chr(65 + rest) + name
    return name


def colour(run: int) -> str:
    """The classes of a run's colour and, when colours begin again, of its dashes."""
    return f"c{run % COLOURS} d{run // COLOURS % 4}"


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about 2 x BUCKETS points: the first, the last, and the lowest and highest of each bucket between, so that
    no peak is lost. The same points give the same result."""
    if len(points) <= 2 * BUCKETS:
        return points
    kept: list[int] = [0]
    for bucket in range(BUCKETS):
        begin, end = (1 + (len(points) - 2) * part // BUCKETS for part in (bucket, bucket + 1))
        inner = range(begin, end)
        lowest, highest = (choose(inner, key=lambda place: points[place][1]) for choose in (min, max))
        kept += sorted({lowest, highest})
    return [points[place] for place in [*kept, len(points) - 1]]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``, at most ``most`` of them."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def clock_ticks(high: float, most: int) -> list[float]:
    """Round times from 0 to ``high`` seconds."""
    steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200]
    step = next((step for step in steps if high / step <= most - 1), 86400 * math.ceil(high / 86400 / (most - 1)))
    return [float(step * number) for number in range(math.floor(high / step) + 1)]


def short(value: float) -> str:
    """A number on an axis: 1500 -> 1.5k, 0.0005 -> 5e-4."""
    if value == 0:
        return "0"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.3g}".split("e") if abs(value) < 1e-4 else (f"{value:.2e}").split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def clock(seconds: float) -> str:
    """A time: 75 -> 1:15, 4000 -> 1:06:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(frozen=True)
class Axes:
    """Values to places in the picture."""

    x0: float
    x1: float
    y0: float
    y1: float

    @staticmethod
    def around(lines: list[Line]) -> Axes:
        xs = [x for line in lines for x, _ in line.points]
        ys = [y for line in lines for _, y in line.points]
        x0, x1, y0, y1 = min(0.0, *xs) if len(xs) > 1 else min(0.0, xs[0]), max(xs), min(ys), max(ys)
        room = 0.05 * (y1 - y0) or abs(y1) * 0.1 or 1.0
        return Axes(x0, x1 if x1 > x0 else x0 + 1, y0 - room if y0 < 0 or y0 > room else 0.0, y1 + room)

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def number(value: float) -> str:
    """A place in the picture, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def drawn(chart: Chart, names: list[str], ident: str) -> tuple[Markup, dict[str, object]]:
    """The figure, and what the script needs to read values off it. ``names`` are the runs'."""
    lines = [Line(line.run, thin(line.points), line.dev, line.best) for line in chart.lines]
    axes = Axes.around(lines)
    inner = [*_grid(axes, chart.x), *(_line(line, axes) for line in lines), *_letters(lines, axes)]
    box = f"0 0 {WIDTH} {HEIGHT}"
    both = len({line.dev for line in lines}) == 2
    svg = tag("svg", tag("title", summary(chart, names)), *inner, viewBox=box, role="img", id=ident, tabindex="0",
              class_="chart both" if both else "chart")  # fmt: skip
    made: dict[str, object] = {
        "x": [axes.x0, axes.x1, LEFT, WIDTH - RIGHT], "y": [axes.y0, axes.y1, HEIGHT - BOTTOM, TOP], "unit": chart.x,
        "lines": [
            {"run": line.run, "dev": line.dev, "x": [_exact(x) for x, _ in line.points],
             "y": [_exact(y) for _, y in line.points]}
            for line in lines
        ],
    }  # fmt: skip
    return tag("figure", tag("figcaption", chart.title), svg), made


def _exact(value: float) -> float:
    """Six digits, a whole number without a point."""
    value = float(f"{value:.6g}") if abs(value) < 1e6 else value
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def summary(chart: Chart, names: list[str]) -> str:
    """The chart in a sentence, for those who do not see it."""
    parts = []
    for line in chart.lines:
        what = " (dev)" if line.dev else ""
        first, last = line.points[0], line.points[-1]
        parts.append(f"{names[line.run]}{what} from {first[1]:.4g} to {last[1]:.4g}")
    return f"{chart.title} by {chart.x}: {'; '.join(parts)}"


def _grid(axes: Axes, unit: str) -> list[Markup]:
    made = []
    for value in ticks(axes.y0, axes.y1, 6):
        place = number(axes.y(value))
        made.append(tag("path", d=f"M{LEFT} {place}H{WIDTH - RIGHT}", class_="grid"))
        made.append(tag("text", short(value), x=LEFT - 6, y=place, dy="0.32em", text_anchor="end", class_="tick"))
    whole = unit != "time" and axes.x1 >= 5
    for value in clock_ticks(axes.x1, 6) if unit == "time" else ticks(axes.x0, axes.x1, 6):
        if whole and value != int(value):
            continue
        said = clock(value) if unit == "time" else short(value)
        made.append(tag("text", said, x=number(axes.x(value)), y=HEIGHT - BOTTOM + 16, text_anchor="middle",
                        class_="tick"))  # fmt: skip
    made.append(tag("path", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="axis"))
    made.append(tag("text", unit, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end", class_="tick unit"))
    return made


def _line(line: Line, axes: Axes) -> Markup:
    """A path; a point that stands alone, and each measurement when they are few, gets a dot."""
    places = [(number(axes.x(x)), number(axes.y(y))) for x, y in line.points]
    made = []
    if len(places) > 1:
        made.append(tag("path", d="M" + "L".join(f"{x} {y}" for x, y in places), class_="line"))
    if len(places) == 1 or (line.dev and len(places) <= 60):
        made += [tag("circle", cx=x, cy=y, r=3, class_="dot") for x, y in places]
    if line.best is not None:
        made += [tag("circle", tag("title", "best"), cx=number(axes.x(x)), cy=number(axes.y(y)), r=6, class_="best")
                 for x, y in line.points if x == line.best]  # fmt: skip
    return tag("g", *made, class_=f"{colour(line.run)} {'dev' if line.dev else 'train'}", data_run=line.run)


def _letters(lines: list[Line], axes: Axes) -> list[Markup]:
    """A letter at each run's last point, moved apart where they would lie on each other."""
    ends: dict[int, tuple[float, float]] = {}
    for line in lines:
        ends.setdefault(line.run, (axes.x(line.points[-1][0]), axes.y(line.points[-1][1])))
    made, lowest = [], -math.inf
    order = sorted(ends, key=lambda run: (ends[run][1], run))
    heights = []
    for run in order:
        lowest = max(ends[run][1], lowest + 12)
        heights.append(lowest)
    over = max(0.0, lowest - (HEIGHT - BOTTOM)) if heights else 0.0
    for run, height in zip(order, heights, strict=True):
        made.append(tag("text", letter(run), x=number(ends[run][0] + 9), y=number(height - over), dy="0.35em",
                        class_=f"letter {colour(run)}", data_run=run))  # fmt: skip
    return made


def from_points(points: Points) -> list[tuple[float, float]]:
    """A log's points as a line's."""
    return [(float(step), value) for step, value in points]
