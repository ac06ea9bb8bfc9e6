"""Charts: thinning that loses no peak, round ticks, few points, and colours that can be told apart."""

from __future__ import annotations

import itertools
import math
import re
from importlib.resources import files

import numpy as np
import pytest

from nlpkit.reporting import chart
from nlpkit.reporting.chart import Axes, Chart, Course, Line

CSS = files("nlpkit").joinpath("reporting/page.css").read_text("utf-8")


def noisy(n: int) -> list[tuple[float, float]]:
    values = np.random.default_rng(0).standard_normal(n)
    return [(float(place), float(value)) for place, value in enumerate(values)]


def test_a_hundred_thousand_points_are_thinned_and_no_peak_is_lost() -> None:
    points = noisy(100_000)
    course = chart.thin(points)
    assert len(course.xs) == len(course.ys) == chart.BUCKETS and course == chart.thin(points)
    assert course.xs == sorted(course.xs) and course.lows and course.highs
    assert min(course.lows) == min(y for _, y in points) and max(course.highs) == max(y for _, y in points)
    assert np.mean(course.ys) == pytest.approx(np.mean([y for _, y in points]))
    drawing, data = chart.draw(Chart("loss", "step", [Line(0, points)]), ["run"], "a")
    assert len(drawing) < 12_000 and {len(data["lines"][0][name]) for name in ("x", "low")} == {200}  # type: ignore[index]
    assert drawing.count('class="band') == 1


@pytest.mark.parametrize("levels", [[0.5], [0.99, 1.0], [0.0], [9.0], [0.5, 0.501, 0.502]])
def test_levels_are_inside_the_chart_and_their_names_apart(levels: list[float]) -> None:
    named = [(f"name {number}", value) for number, value in enumerate(levels)]
    drawing, _ = chart.draw(Chart("accuracy", "step", [Line(0, [(0, 0.1), (9, 1.0)])], named), ["run"], "a")
    lines = [float(y) for y in re.findall(r'd="M46 ([\d.]+)H332" class="level"', drawing)]
    assert len(lines) == len(levels) and all(chart.TOP <= y <= chart.HEIGHT - chart.BOTTOM for y in lines)
    written = re.findall(r'<text[^>]* y="([\d.]+)"[^>]*class="level-name"', drawing)
    heights = sorted(float(y) for y in written)
    assert all(high - low >= 12 for low, high in itertools.pairwise(heights)) and heights[0] >= chart.TOP
    assert "name 0" in drawing.split("</title>")[0]  # for screen readers too


def test_a_long_flat_line_stays_flat() -> None:
    course = chart.thin([(float(x), 0.001) for x in range(1000)])
    assert set(course.ys) == {0.001} and Axes.around([course]).y1 == pytest.approx(0.0011)


@pytest.mark.parametrize("n", [1, 2, 400, 401, 999])
def test_any_number_of_points_is_drawn(n: int) -> None:
    drawing, _ = chart.draw(Chart("loss", "step", [Line(0, noisy(n))]), ["run"], "a")
    assert "nan" not in drawing and "inf" not in drawing
    assert drawing.count('class="dot"') == (n == 1) and drawing.count('class="line"') == (n > 1)
    assert drawing.count('class="band') == (n > 400) and len(chart.thin(noisy(n)).xs) == (n if n <= 400 else 200)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-12, 1e290])
def test_a_line_that_does_not_rise_has_axes(value: float) -> None:
    axes = Axes.around([Course([1.0, 2.0], [value, value])])
    assert axes.y0 < axes.y1 and chart.TOP <= axes.y(value) <= chart.HEIGHT - chart.BOTTOM


def test_the_best_is_marked_where_it_was_measured() -> None:
    line = Line(0, noisy(1000), dev=True, best=(500.0, 7.5))
    drawing, _ = chart.draw(Chart("loss", "step", [line]), ["run"], "a")
    assert drawing.count('class="best"') == 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.1, 0.35), (-3, 7), (0, 3e-7), (5.9, 7.6), (0, 123_456)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = chart.ticks(low, high, 6)
    assert 2 <= len(found) <= 6 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    step = found[1] - found[0]
    assert np.allclose(np.diff(found), step)
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


@pytest.mark.parametrize("high", [0.4, 3, 59, 61, 3599, 3601, 86_399, 1e6])
def test_times_are_round(high: float) -> None:
    found = chart.clock_ticks(high, 6)
    assert len(found) <= 6 and found[0] == 0 and found[-1] <= high


def test_numbers_are_short() -> None:
    said = [chart.short(value) for value in (0, 1500, 0.0005, 2.5e-7, 1e6, 6.25, 0.001)]
    assert said == ["0", "1.5k", "5e-4", "2.5e-7", "1M", "6.25", "0.001"]
    assert [chart.clock(value) for value in (0, 75, 4000)] == ["0:00", "1:15", "1:06:40"]
    assert [chart.letter(run) for run in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


@pytest.mark.parametrize("ends", [[0.5] * 30, [0.5, 0.5001, 1.0], [number / 50 for number in range(30)]])
def test_letters_do_not_lie_on_each_other(ends: list[float]) -> None:
    """Where too many lines end in one place, some go without: their colours are in the legend."""
    lines = [Line(run, [(0.0, 1.0), (1.0, end)]) for run, end in enumerate(ends)]
    drawing, _ = chart.draw(Chart("loss", "step", lines), [str(run) for run in range(len(ends))], "a")
    heights = [float(found) for found in re.findall(r'<text x="[^"]*" y="([^"]*)" dy="0.35em" class="letter', drawing)]
    assert len(heights) >= min(3, len(ends)) and min(np.diff(sorted(heights))) >= 11.9
    assert min(heights) >= chart.TOP and max(heights) <= chart.HEIGHT - chart.BOTTOM


def colours(scheme: str) -> dict[str, str]:
    """The variables of the light (first), dark (second) or print (third) block of the style."""
    block = re.findall(r":root\{([^}]*)\}", CSS)[("light", "dark", "print").index(scheme)]
    return dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", block))


def luminance(colour: str) -> np.ndarray:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    value = np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    light = sorted(float(luminance(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_what_is_drawn_and_written_stands_out(scheme: str) -> None:
    found = colours(scheme)
    for name in ("ink", "muted", "link", *(f"c{number}" for number in range(chart.COLOURS))):
        assert contrast(found[name], found["bg"]) >= 4.5, name  # of text: letters and badges are in these colours
        assert contrast(found[name], found["panel"]) >= 4.5, name


# Viénot et al. 1999: what is left of linear RGB without the long, or without the middle cones.
BLIND = {
    "protan": np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]]),
    "deutan": np.array([[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]]),
}


def lab(linear: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear.clip(0, 1)
    f = np.cbrt(xyz / (0.9505, 1, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("eyes", BLIND)
def test_the_first_colours_differ_without_red_or_green_cones(scheme: str, eyes: str) -> None:
    """Of the first four; letters at the lines and in the badges tell apart all."""
    seen = [lab(BLIND[eyes] @ luminance(colours(scheme)[f"c{number}"])) for number in range(4)]
    assert min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)) > 11
