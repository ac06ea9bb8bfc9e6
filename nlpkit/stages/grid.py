"""The runs of a search, from its texts: the points of a grid, the seeds, and the rungs of successive halving."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import quote

from nlpkit.artifact.search import words
from nlpkit.base import limits
from nlpkit.base.errors import UserError, choose
from nlpkit.stages.call import Stage
from nlpkit.training.options import check_limits

Point = dict[str, Any]  # option -> value
MOST = 10_000  # runs


def points_of(stage: Stage, grid: Sequence[str], fixed: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Point]:
    """The points of a grid ("lr=1e-3,3e-3", ...), the last option changing fastest; without a grid one that sets
    nothing. ``fixed`` are the other options of the command. Errors: an unknown option, one that is also fixed or given
    twice, a value that the command does not take."""
    axes: dict[str, list[Any]] = {}
    searchable = {name: kind for name, kind in stage.options.items() if name != "seed"}
    for text in grid:
        flag, equals, values = text.partition("=")
        name = flag.strip().replace("-", "_")
        if not equals:
            raise UserError(f'grid is "{text}", expected NAME=V1,V2', hint="such as --grid lr=1e-3,3e-3")
        kind = choose(searchable, name, field=f"grid: option of {stage.command}")
        if name in axes:
            raise UserError(f"grid has {flag} twice", hint="give all its values in one --grid")
        if fixed[name] != defaults[name]:
            raise UserError(f"--{flag} is {fixed[name]}, and the grid has values for it too", hint="leave one out")
        axes[name] = [_value(flag, kind, value.strip()) for value in values.split(",")]
        for value in axes[name]:
            limits.check(stage.command, {name: value})
            check_limits({name: value})
            if axes[name].count(value) > 1:
                raise UserError(f"grid has {flag} {value} twice")
    if (size := math.prod(map(len, axes.values()))) > MOST:
        raise UserError(f"the grid has {size:,} points, expected at most {MOST:,}")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _value(flag: str, kind: Any, text: str) -> Any:
    """A value of an option of this type, with the command line's own error."""
    kinds = get_args(kind) or (kind,)
    if bool in kinds:
        return choose({"true": True, "yes": True, "false": False, "no": False}, text.lower(), field=flag)
    for number, said in ((int, "an integer, such as 1000"), (float, "a number, such as 5e-4")):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                raise UserError(f'--{flag} is "{text}", expected {said}', where="grid") from None
    if not text:
        raise UserError(f"--{flag} is empty", where="grid")
    return text


def seeds_of(text: str) -> list[int]:
    """Seeds of "0", "1..3" or "1,2,5". Errors: anything else, a seed twice."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("..")
        try:
            start, end = int(first), int(last or first)
        except ValueError:
            raise UserError(f'seeds is "{text}", expected integers, such as 1..3 or 1,2,5') from None
        limits.check("", {"seed": start})
        limits.check("", {"seed": end})
        if not 0 <= end - start < MOST:
            raise UserError(f'seeds is "{text}", expected a range of 1 to {MOST:,} seeds')
        seeds += range(start, end + 1)
        if len(seeds) > MOST:
            raise UserError(f"there are more than {MOST:,} seeds")
    if len(set(seeds)) < len(seeds):
        raise UserError(f'seeds is "{text}", which has a seed twice')
    return seeds


def divisors(points: int, halving: bool) -> list[int]:
    """By what the updates of a run are divided in each rung of a search: 1 in the last.

    Successive halving (Jamieson and Talwalkar 2016): the better half of the points, rounded up, goes to
    the next rung with twice the updates, until one is left. Deviations: each run starts anew, because its schedule of
    learning rates depends on its length; the one that is left makes all updates.
    """
    return [2**rung for rung in reversed(range((points - 1).bit_length() + 1))] if halving else [1]


def survivors(points: int, divisors: Sequence[int]) -> list[int]:
    """How many points each rung trains."""
    return [math.ceil(points / 2**rung) for rung in range(len(divisors))]


def options_of(point: Point, seed: int, steps: int, divisor: int) -> Point:
    """What a run sets, of a point whose runs make ``steps`` updates, in a rung that divides them."""
    if divisor == 1:
        return {**point, "seed": seed}
    return {**point, "epochs": None, "steps": steps // divisor, "seed": seed}


def name_of(options: Point) -> str:
    """The name of a run's file: a function of what `options_of` sets, in whatever order."""
    values = {name: quote(str(value), safe="+") for name, value in sorted(options.items()) if value is not None}
    return words(values) + ".safetensors"
