"""The commands `nlpkit tune ...`: the flags of a training command beside those of the search, and the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Option

from nlpkit.cli.commands import COMMANDS
from nlpkit.cli.output import call, number, written
from nlpkit.cli.recorded import words
from nlpkit.cli.terminal import record, say, tell, visible

Dev = Annotated[Path, Option(help="Data for evaluation, by which the search chooses; never test data.")]
Grid = Annotated[
    list[str] | None,
    Option(
        metavar="NAME=V1,V2",
        help="Values of an option of the command; repeatable: every combination is a point of the grid (default: one "
        "point, the options as given).",
    ),
]
Seeds = Annotated[str, Option(help="Seeds of every point, such as 1..3 or 1,2,5.")]
Halving = Annotated[
    bool,
    Option(
        "--halving/--no-halving",
        help="Successive halving: train all points with fewer updates first, and go on with the better half.",
    ),
]
OWN = {"grid": (Grid, None), "seeds": (Seeds, "0"), "halving": (Halving, False)}


def tunes(inner: str) -> Callable[[Callable[[], None]], Callable[..., None]]:
    """The command of a search over a training command: its function, which has the help, gets that one's flags."""
    function = import_module(f"nlpkit.cli.{COMMANDS[inner][0]}").command
    kinds = (
        get_type_hints(function, include_extras=True) | {"dev": Dev} | {name: kind for name, (kind, _) in OWN.items()}
    )
    defaults = {name: item.default for name, item in inspect.signature(function).parameters.items()}
    defaults |= {"dev": inspect.Parameter.empty} | {name: default for name, (_, default) in OWN.items()}
    defaults["json"] = defaults.pop("json")  # the last
    del defaults["seed"], kinds["seed"], kinds["return"]
    keyword = inspect.Parameter.KEYWORD_ONLY

    def decorate(documented: Callable[[], None]) -> Callable[..., None]:
        def command(**arguments: Any) -> None:
            call(f"tune {inner}", arguments, json=arguments["json"], show=show)

        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, keyword, default=value, annotation=kinds[name])
                for name, value in defaults.items()
            ]
        )
        command.__annotations__ = kinds
        command.__doc__ = documented.__doc__
        return command

    return decorate


def show(result: dict[str, Any]) -> None:
    """A line for each point, the best marked; then what a reader must know of it."""
    if result.get("dry_run"):
        record(result, indent=2)
        return
    rows = [(visible(words(point["options"])) or "as given", point) for point in result["points"]]
    width = max(len(name) for name, _ in rows)
    seeds = ", ".join(map(str, result["seeds"]))
    several = f"mean over seeds {seeds} ± its 95 % interval" if len(result["seeds"]) > 1 else f"seed {seeds}"
    tell(f"dev {visible(result['metric'])}, {several}")
    for name, point in rows:
        interval = "" if point["low"] is None else f"± {number(point['high'] - point['mean'], 4)}"
        value = "diverged" if point["mean"] is None else number(point["mean"], 4)
        line = f"{'*' if point['best'] else ' '} {name:<{width}}  {point['steps']:>8,} updates  {value:>9} {interval}"
        tell(line.rstrip())
    for remark in result["remarks"]:
        say(remark)
    best = result["best"]
    say(f"best: {words(best['options'] | {'seed': best['seed']})}, {number(best['score'], 4)} on dev")
    written(result)
