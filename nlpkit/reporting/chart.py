"""One learning chart as SVG: lines of several runs on common axes.

It is complete without a script: axes, lines, a letter at the end of each line. A script adds the values under the
pointer, from the points that `draw` returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from nlpkit.reporting.html import Markup, tag
from nlpkit.reporting.log import Points

WIDTH, HEIGHT = 360, 214
LEFT, RIGHT, TOP, BOTTOM = 46, 28, 10, 34
BUCKETS = 200  # a line of more than twice as many points is drawn as buckets: mean, lowest and highest value
SHIFTS = (0, 12, -12, 24, -24, 36, -36)  # vertical shifts that are tried for the letter at the end of a line
COLOURS = 8  # in page.css


@dataclass(frozen=True)
class Line:
    """One run's values. ``run`` is its number (colour and letter), ``dev`` marks measurements between training steps,
    ``best`` is the best one."""

    run: int
    points: list[tuple[float, float]]
    dev: bool = False
    best: tuple[float, float] | None = None


@dataclass
class Chart:
    """Lines with a title; ``x`` names the axis; ``levels`` are values to compare with, by name."""

    title: str
    x: str
    lines: list[Line] = field(default_factory=list)
    levels: list[tuple[str, float]] = field(default_factory=list)


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


@dataclass(frozen=True)
class Course:
    """A line as it is drawn: its points, and of a long one the lowest and highest value around each."""

    xs: list[float]
    ys: list[float]
    lows: list[float] | None = None
    highs: list[float] | None = None


def thin(points: list[tuple[float, float]]) -> Course:
    """At most 2 x BUCKETS points as they are; of more, the mean of each bucket of neighbours and the band from its
    lowest to its highest, so that no peak is lost. The same points give the same result."""
    if len(points) <= 2 * BUCKETS:
        return Course([x for x, _ in points], [y for _, y in points])
    cuts = [len(points) * part // BUCKETS for part in range(BUCKETS + 1)]
    buckets = [points[begin:end] for begin, end in pairwise(cuts)]
    values = [[y for _, y in bucket] for bucket in buckets]
    lows, highs = [min(ys) for ys in values], [max(ys) for ys in values]
    # The mean of equal numbers may round to another number.
    means = [min(max(sum(ys) / len(ys), low), high) for ys, low, high in zip(values, lows, highs, strict=True)]
    return Course([sum(x for x, _ in bucket) / len(bucket) for bucket in buckets], means, lows, highs)


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
    """Maps values to coordinates."""

    x0: float
    x1: float
    y0: float
    y1: float

    @staticmethod
    def around(courses: list[Course], levels: Iterable[float] = ()) -> Axes:
        xs = [x for course in courses for x in course.xs]
        ys = [y for course in courses for y in (*course.ys, *(course.lows or ()), *(course.highs or ()))]
        ys += levels
        x0, x1, y0, y1 = min(0.0, *xs) if len(xs) > 1 else min(0.0, xs[0]), max(xs), min(ys), max(ys)
        flat = y1 - y0 <= 1e-9 * abs(y1)
        margin = (abs(y1) * 0.1 or 1.0) if flat else 0.05 * (y1 - y0)
        return Axes(x0, x1 if x1 > x0 else x0 + 1, y0 - margin if y0 < 0 or y0 > margin else 0.0, y1 + margin)

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def number(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def draw(chart: Chart, names: list[str], ident: str) -> tuple[Markup, dict[str, object]]:
    """The figure, and what the script needs to read values off it. ``names`` are the runs'."""
    lines = [(line, thin(line.points)) for line in chart.lines]
    axes = Axes.around([course for _, course in lines], (value for _, value in chart.levels))
    bands = [_band(line, course, axes) for line, course in lines if course.lows is not None]
    inner = [
        *_grid(axes, chart.x),
        *_levels(chart.levels, axes),
        *bands,
        *(_line(line, course, axes) for line, course in lines),
        *_letters(lines, axes),
        *_level_names(chart.levels, axes),
    ]
    both = len({line.dev for line, _ in lines}) == 2
    svg = tag(
        "svg",
        tag("title", summary(chart, names)),
        *inner,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        id=ident,
        tabindex="0",
        class_="chart both" if both else "chart",
    )
    script_data: dict[str, object] = {
        "x": [axes.x0, axes.x1, LEFT, WIDTH - RIGHT],
        "y": [axes.y0, axes.y1, HEIGHT - BOTTOM, TOP],
        "unit": chart.x,
        "lines": [
            {"run": line.run, "dev": line.dev}
            | {
                name: [_exact(value) for value in values]
                for name, values in (("x", course.xs), ("y", course.ys), ("low", course.lows), ("high", course.highs))
                if values is not None
            }
            for line, course in lines
        ],
    }
    return tag("figure", tag("figcaption", chart.title), svg), script_data


def _exact(value: float) -> float:
    """Six digits; an integer without a decimal point."""
    value = float(f"{value:.6g}") if abs(value) < 1e6 else value
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def summary(chart: Chart, names: list[str]) -> str:
    """The chart in a sentence, for screen readers."""
    parts = []
    for line in chart.lines:
        what = " (dev)" if line.dev else ""
        first, last = line.points[0], line.points[-1]
        parts.append(f"{names[line.run]}{what} from {first[1]:.4g} to {last[1]:.4g}")
    parts += [f"{name} {value:.4g}" for name, value in chart.levels]
    return f"{chart.title} by {chart.x}: {'; '.join(parts)}"


def _grid(axes: Axes, unit: str) -> list[Markup]:
    marks = []
    for value in ticks(axes.y0, axes.y1, 6):
        y = number(axes.y(value))
        marks.append(tag("path", d=f"M{LEFT} {y}H{WIDTH - RIGHT}", class_="grid"))
        marks.append(tag("text", short(value), x=LEFT - 6, y=y, dy="0.32em", text_anchor="end", class_="tick"))
    whole = unit != "time" and axes.x1 >= 5
    for value in clock_ticks(axes.x1, 6) if unit == "time" else ticks(axes.x0, axes.x1, 6):
        if whole and value != int(value):
            continue
        label = clock(value) if unit == "time" else short(value)
        marks.append(
            tag("text", label, x=number(axes.x(value)), y=HEIGHT - BOTTOM + 16, text_anchor="middle", class_="tick")
        )
    marks.append(tag("path", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="axis"))
    marks.append(tag("text", unit, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end", class_="tick unit"))
    return marks


def _levels(levels: list[tuple[str, float]], axes: Axes) -> list[Markup]:
    return [tag("path", d=f"M{LEFT} {number(axes.y(value))}H{WIDTH - RIGHT}", class_="level") for _, value in levels]


def _level_names(levels: list[tuple[str, float]], axes: Axes) -> list[Markup]:
    """The name of each level, above its line, below it where another's name stands there or the chart ends."""
    taken: list[float] = []
    marks = []
    for name, value in sorted(levels, key=lambda level: -level[1]):
        y = axes.y(value)
        for candidate in (y - 4, y + 12):
            if candidate >= TOP + 8 and all(abs(candidate - other) >= 13 for other in taken):
                taken.append(candidate)
                text = f"{name} {value:.3g}"
                x = WIDTH - RIGHT - 3
                marks.append(tag("text", text, x=x, y=number(candidate), text_anchor="end", class_="level-name"))
                break
    return marks


def _path(xs: Iterable[float], ys: Iterable[float], axes: Axes) -> str:
    return "L".join(f"{number(axes.x(x))} {number(axes.y(y))}" for x, y in zip(xs, ys, strict=True))


def _band(line: Line, course: Course, axes: Axes) -> Markup:
    """From the lowest to the highest values of a long line."""
    there, back = _path(course.xs, course.highs or (), axes), _path(course.xs[::-1], (course.lows or [])[::-1], axes)
    return tag("path", d=f"M{there}L{back}z", class_=f"band {colour(line.run)}", data_run=line.run)


def _line(line: Line, course: Course, axes: Axes) -> Markup:
    """A path; a point that stands alone, and each measurement when they are few, gets a dot."""
    marks = []
    if len(course.xs) > 1:
        marks.append(tag("path", d=f"M{_path(course.xs, course.ys, axes)}", class_="line"))
    if len(course.xs) == 1 or (line.dev and len(course.xs) <= 60):
        marks += [
            tag("circle", cx=number(axes.x(x)), cy=number(axes.y(y)), r=3, class_="dot")
            for x, y in zip(course.xs, course.ys, strict=True)
        ]
    if line.best is not None:
        x, y = line.best
        marks.append(
            tag("circle", tag("title", "best"), cx=number(axes.x(x)), cy=number(axes.y(y)), r=6, class_="best")
        )
    return tag("g", *marks, class_=f"{colour(line.run)} {'dev' if line.dev else 'train'}", data_run=line.run)


def _letters(lines: list[tuple[Line, Course]], axes: Axes) -> list[Markup]:
    """A letter at each run's last point, moved a little where another stands there; where many do, it is left out."""
    taken: list[tuple[float, float]] = []
    marks, named = [], set()
    for line, course in lines:
        if line.run in named:
            continue
        named.add(line.run)
        x, y = axes.x(course.xs[-1]) + 9, axes.y(course.ys[-1])
        for candidate in (y + shift for shift in SHIFTS):
            beside = all(abs(x - other) >= 14 or abs(candidate - height) >= 12 for other, height in taken)
            if beside and TOP <= candidate <= HEIGHT - BOTTOM:
                taken.append((x, candidate))
                marks.append(
                    tag(
                        "text",
                        letter(line.run),
                        x=number(x),
                        y=number(candidate),
                        dy="0.35em",
                        class_=f"letter {colour(line.run)}",
                        data_run=line.run,
                    )
                )
                break
    return marks


def from_points(points: Points) -> list[tuple[float, float]]:
    """A log's points as a line's."""
    return [(float(step), value) for step, value in points]
