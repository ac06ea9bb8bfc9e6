"""nlpkit tune: a training command over a grid of options and several seeds; writes the model that is best on dev.

Each run is a run of that command, to a file of its own beside the output, so that a search that was killed goes on run
by run, a larger grid computes only what is new, and every run can be verified alone.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic, beside, file, search
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.artifact.summary import summary_of
from nlpkit.base import events
from nlpkit.base.errors import Diverged, RunError, UserError, refuse
from nlpkit.machine.device import choose_device
from nlpkit.stages import grid, plan
from nlpkit.stages.again import already_made
from nlpkit.stages.call import stage_of
from nlpkit.stages.distill import distill
from nlpkit.stages.finetune import finetune
from nlpkit.stages.pretrain import pretrain
from nlpkit.tasks import kind as kind_of_task

# The parameters that the training commands do not have: name, type, default.
OWN = (("grid", "list[str] | None", None), ("seeds", "str", "0"), ("halving", "bool", False))
# Options on which it depends what a result on dev measures.
MEASURED = ("metric", "task", "label", "objective", "cut", "mask_ratio", "mask_mix")
KEYWORD = inspect.Parameter.KEYWORD_ONLY
_DOC = """Run `nlpkit.{}` for every point of a ``grid`` (["lr=1e-3,3e-3", ...]) and each of the ``seeds`` ("1..3",
"1,2,5"); write the model that is best on ``dev``, and return its summary with the table of all points.

The best point has the best mean over the seeds, by the metric that the command chooses its best weights by; of its runs
the one with the best score is written. ``halving`` trains all points with a part of the updates first, and goes on with
the better half (`nlpkit.stages.grid.divisors`). The runs stay in the folder OUTPUT.runs. Errors: UserError for a grid
that the command does not take, before anything runs; RunError if all points diverge; those of the command."""


def tunes(inner: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The search over a training command's function: its parameters, with ``grid``, ``seeds`` and ``halving``, without
    ``seed``, and with a ``dev`` that must be given."""
    name = f"tune {inner.__name__}"
    parameters = {key: item for key, item in inspect.signature(inner).parameters.items() if key != "seed"}
    parameters["dev"] = parameters["dev"].replace(default=inspect.Parameter.empty, annotation="Path")
    for key, kind, default in OWN:
        parameters[key] = inspect.Parameter(key, KEYWORD, default=default, annotation=kind)
    signature = inspect.Signature([*parameters.values()], return_annotation="dict[str, Any]")

    def tune(*args: Any, **options: Any) -> dict[str, Any]:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        return _search(name, inner, dict(bound.arguments))

    tune.__doc__ = _DOC.format(inner.__name__)
    tune.__name__ = tune.__qualname__ = name.replace(" ", "_")
    tune.__signature__ = signature  # type: ignore[attr-defined]
    tune.__annotations__ = {key: item.annotation for key, item in parameters.items()} | {"return": "dict[str, Any]"}
    tune.__wrapped__ = inner  # type: ignore[attr-defined]  # whose module's names the annotations are made of
    return tune


@stage
def _search(command: str, inner: Callable[..., dict[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The search; ``arguments`` are all of the function that `tunes` made."""
    known = stage_of(inner.__name__)
    _check_files({name: arguments[name] for name in known.inputs})
    fixed = {name: value for name, value in arguments.items() if name not in {name for name, _, _ in OWN}}
    defaults = {name: item.default for name, item in inspect.signature(inner).parameters.items()}
    points = grid.points_of(known, arguments["grid"] or (), fixed, defaults)
    seeds = grid.seeds_of(arguments["seeds"])
    if len(points) == 1:
        refuse({"halving": arguments["halving"] or None}, "the grid has one point")
    fixed |= {"device": choose_device(arguments["device"]), "parts": arguments["parts"] or 1, "log": None}
    resolved = {name: fixed[name] for name in ("device", "parts")}
    run = Run.start(command, {**arguments, **resolved}, inputs=known.inputs, libraries=("torch", "numpy"))
    folder = beside.runs(run.output)

    def planned(point: grid.Point) -> dict[str, Any]:
        return inner(**{**fixed, **point, "seed": seeds[0], "dry_run": True})

    def one(options: grid.Point) -> dict[str, Any]:
        call = {**fixed, **options, "output": folder / grid.name_of(options)}
        return already_made(inner.__name__, {**call, "force": False}) or inner(**call)

    with events.log_to(arguments["log"]):
        divisors = grid.divisors(len(points), arguments["halving"])
        if arguments["dry_run"]:
            plans = [planned(point) for point in points]
            _steps(plans, divisors[0])
            return run.plan(**_cost(points, seeds, divisors, plans))
        with events.silence(), plan.unmeasured():
            steps = _steps([planned(point) for point in points], divisors[0])
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise atomic.cannot_write(error, folder) from None
        rungs: list[list[dict[str, Any]]] = [[] for _ in points]
        left = list(range(len(points)))
        total = len(seeds) * sum(grid.survivors(len(points), divisors))
        counted = (f"run {number} of {total}" for number in itertools.count(1))
        for divisor in divisors:
            for index in left:
                calls = [grid.options_of(points[index], seed, steps[index], divisor) for seed in seeds]
                results = [_result(one, folder, options, next(counted)) for options in calls]
                scores, runs = zip(*results, strict=True)
                rungs[index].append({"steps": steps[index] // divisor, "scores": [*scores], "runs": [*runs]})
            left = [left[index] for index in search.ranked([rungs[index][-1]["scores"] for index in left])]
            best, left = left[0], sorted(left[: math.ceil(len(left) / 2)])
            if search.mean(rungs[best][-1]["scores"]) == -math.inf:
                raise RunError("every point has a run that diverged", where=folder, hint="smaller values of lr help")
        number = search.best_seed(rungs[best][-1]["scores"])
        chosen = file.read(folder / grid.name_of({**points[best], "seed": seeds[number]}))
        record = {
            "metric": _metric(chosen.config, arguments),
            "seeds": seeds,
            "points": [{"options": point, "rungs": each} for point, each in zip(points, rungs, strict=True)],
            "best": [best, number],
        }
        tensors = {name: chosen.array(name) for name in chosen.tensors}
        config = {**chosen.config, "search": record}
        run.write(tensors, kind=chosen.kind, config=config, tokenizer=chosen.tokenizer)
        summary = summary_of(run.output, file.read(run.output))
        del summary["already_made"]
        return summary


def _check_files(inputs: Mapping[str, Any]) -> None:
    """Errors: an input that can be read once only."""
    for value in inputs.values():
        for path in value if isinstance(value, (list, tuple)) else [value]:
            if path is not None and (str(path) == "-" or (path.exists() and not (path.is_file() or path.is_dir()))):
                raise UserError("can be read once only, and every run reads it", where=path, hint="put it in a file")


def _steps(plans: Sequence[Mapping[str, Any]], divisor: int) -> list[int]:
    """The updates of a run of each point, from its dry run. Errors: too few to choose by; points whose results on dev
    cannot be compared, because they measure different things."""
    for name in MEASURED:
        values = {plan["options"].get(name) for plan in plans}
        if len(values) > 1:
            raise UserError(
                f"points differ in {name.replace('_', '-')} ({', '.join(sorted(map(str, values)))}), and their results "
                "on dev measure different things",
                hint="search each by itself, and compare with nlpkit evaluate",
            )
    steps = [int(plan["options"]["steps"]) for plan in plans]
    if min(steps) < divisor:
        raise UserError(
            f"a run makes {min(steps):,} updates, and the search divides them by {divisor}",
            hint="more --steps or --epochs, or fewer points; --steps 0 trains nothing to choose from",
        )
    return steps


def _result(one: Callable[..., Any], folder: Path, options: grid.Point, which: str) -> tuple[float | None, str | None]:
    """The score and the sha256 of one run; None and None if it diverged."""
    path = folder / grid.name_of(options)
    events.note(f"{which}: {path.name}")
    try:
        summary = one(options)
    except Diverged as error:
        events.note(f"{error.what}; the run counts as the worst")
        return None, None
    score = file.read(path).config["training"]["score"]
    reused = ", made before" if summary.get("already_made") else ""
    events.note(f"score {'that is not a number' if score is None else f'{score:.4f}'}{reused}")
    return score, summary["sha256"]


def _cost(
    points: Sequence[grid.Point], seeds: Sequence[int], divisors: Sequence[int], told: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a search would cost, from the dry run of each point."""
    left = grid.survivors(len(points), divisors)
    seconds = math.fsum(plan["seconds"] for plan in told) / len(points)
    return {
        "points": [
            {"options": point, **{name: plan[name] for name in ("steps", "memory_bytes", "seconds")}}
            for point, plan in zip(points, told, strict=True)
        ],
        "seeds": [*seeds],
        "runs": len(seeds) * sum(left),
        "seconds": round(seconds * len(seeds) * sum(n / by for n, by in zip(left, divisors, strict=True)), 3),
    }


def _metric(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """The metric that the runs chose their best weights by: of a language model its loss."""
    task = config.get("task")
    return "loss" if task is None else str(arguments["metric"] or kind_of_task(task["name"]).metrics[0])


tune_pretrain = tunes(pretrain)
tune_finetune = tunes(finetune)
tune_distill = tunes(distill)
