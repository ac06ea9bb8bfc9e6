"""The options that every training command has, declared once: name, type, default, help, limits.

A stage's function takes ``**training`` and is decorated with `trains`, which puts the options in its signature, with
the defaults of the command; `flat` puts them beside its other arguments. The command line makes its flags from the same
table (nlpkit/cli/options.py); `nlpkit.training.settings.Settings` inherits it and checks the limits. So an option is
added here and read where it is used, and a new command has all of them. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from nlpkit.base.limits import LARGE, MANY, check_range

P = ParamSpec("P")
R = TypeVar("R")
RULE = "by the run, see docs/defaults.md"  # nlpkit/stages/defaults.py
KEYWORD = inspect.Parameter.KEYWORD_ONLY


def option(
    default: Any,
    text: str = "",
    *,
    absent: str = "",
    least: float | None = None,
    most: float | None = None,
    names: str | None = None,
) -> Any:
    """One option. ``text`` is its help ("": as of other commands), ``absent`` says what None means; ``least`` and
    ``most`` are its limits (none: nlpkit/base/limits.py has them, if any); ``names`` is what a shell offers
    (nlpkit/cli/completion.py)."""
    said = {"text": text, "absent": absent, "least": least, "most": most, "names": names}
    return field(default=default, metadata=said)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of any training command. Units are in the names; absent is None."""

    steps: int | None = option(
        None,
        "Number of optimizer steps; 0: write the initial model",
        absent="as many as --epochs take",
        least=0,
        most=MANY,
    )
    epochs: int | None = option(None, "Passes over the data", absent=RULE, least=1, most=1_000_000)
    batch_tokens: int = option(4096, "Approximate number of tokens in a batch, which holds whole sequences")
    accumulate: int = option(
        1, "Batches whose gradients are summed for one update (gradient accumulation)", least=1, most=100_000
    )
    optimizer: str = option(
        "adamw",
        "Optimizer: adamw, adafactor (factored second moments), muon (orthogonalised updates)",
        names="optimizers",
    )
    lr: float = option(5e-4, "Peak learning rate", least=0, most=LARGE)
    schedule: str = option(
        "linear",
        "Schedule of the learning rate: constant, linear, cosine, inverse-sqrt, wsd, trapezoid",
        names="schedules",
    )
    warmup_fraction: float = option(
        0.1, "Fraction of the steps in which the learning rate rises linearly to its peak", least=0, most=1
    )
    decay_fraction: float | None = option(
        None,
        "Fraction of the steps, the last, in which the learning rate decays (wsd, trapezoid)",
        absent="0.2",
        least=0,
        most=1,
    )
    final_lr_fraction: float = option(0.0, "Final learning rate as a fraction of the peak", least=0, most=1)
    momentum: float | None = option(None, "Momentum of Muon", absent="0.95", least=0, most=1)
    beta1: float | None = option(
        None,
        "Decay rate of the first moment (AdamW, Adafactor)",
        absent="0.9 with AdamW; Adafactor keeps no first moment",
        least=0,
        most=1,
    )
    beta2: float | None = option(None, "Decay rate of AdamW's second moment", absent="0.999", least=0, most=1)
    adam_eps: float | None = option(None, "Epsilon of AdamW", absent="1e-8", least=0, most=LARGE)
    weight_decay: float = option(0.01, "Weight decay of matrices", least=0, most=LARGE)
    clip_norm: float = option(1.0, "Clip the gradient's norm to this; 0: no clipping", least=0, most=1e30)
    eval_every: int | None = option(
        None, "Steps between evaluations on --dev", absent="after each epoch", least=1, most=MANY
    )
    patience: int | None = option(
        None,
        "Stop after N evaluations on --dev in a row without a better result (early stopping)",
        absent="never stop early",
        least=1,
        most=MANY,
    )
    seed: int = option(0)
    device: str = option("cpu")
    parts: int | None = option(
        None,
        "Split each batch into N parts, whose gradients are summed in a fixed order: the bytes depend on N, and not "
        "on how many processes share the parts",
        absent="the number of processes; of an unfinished run: as it began",
        least=1,
        most=10_000,
    )
    parallel: str | None = option(
        None,
        "Under torchrun: ddp (whole model in each process, default) or fsdp (sharded). Changes no byte",
    )
    precision: str = option("float32", "Precision of matrix products: float32, bfloat16, float16")
    checkpointing: bool = option(
        False,
        "Gradient checkpointing: recompute activations in the backward pass; less memory, a third more time; changes "
        "no byte",
    )
    compile: bool = option(False, "Fuse feed-forward layers and norms with torch.compile (GPU)")
    threads: int | None = option(None)
    log_every: int = option(
        10, "Steps between losses in the log and on the terminal; changes no byte", least=1, most=MANY
    )
    save_every: int | None = option(
        None, "Steps between saves of the state from which a killed run resumes", absent="one a minute"
    )
    log: Path | None = option(None)  # noqa: RUF009 - a field, not a value
    force: bool = option(False)
    fresh: bool = option(False)
    dry_run: bool = option(False)


OPTIONS: dict[str, Field[Any]] = {item.name: item for item in fields(Training)}
# Options that a recipe may set (nlpkit/stages/recipes.py), where the command has recipes.
IN_RECIPES = ("batch_tokens", "optimizer", "lr", "schedule", "warmup_fraction", "weight_decay", "clip_norm")
PLAIN: dict[str, Any] = {name: OPTIONS[name].default for name in IN_RECIPES}
# More options whose default is a function of the run.
BY_RUN = dict.fromkeys(("batch_tokens", "lr"), (None, RULE))
# Defaults of a command that differ from the above: (default, what None means).
OTHERWISE: dict[str, dict[str, tuple[Any, str]]] = {
    "pretrain": {
        **{name: (None, f"{value}, or the recipe's") for name, value in PLAIN.items()},
        **BY_RUN,
        "eval_every": (None, "at the end"),
    },
    "finetune": BY_RUN,
    "distill": BY_RUN,
}


def default_of(command: str, name: str) -> tuple[Any, str]:
    """An option's default with a command, and what it means when that is None."""
    item = OPTIONS[name]
    return OTHERWISE[command].get(name, (item.default, item.metadata["absent"]))


def annotation_of(command: str, name: str) -> Any:
    """The type of an option, as text: with None among its values where None is the default."""
    kind = str(OPTIONS[name].type)
    return f"{kind} | None" if default_of(command, name)[0] is None and not kind.endswith("None") else kind


def trains(
    command: str, annotation: Callable[[str, str], Any] = annotation_of
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function with ``**training`` all options of training, by name, with the defaults of the command.
    ``annotation`` returns their types. Errors: the decorated function raises TypeError for a name that is no option."""
    defaults = {name: default_of(command, name)[0] for name in OPTIONS}
    types = {name: annotation(command, name) for name in OPTIONS}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = dict(inspect.signature(function).parameters)
        del parameters["training"]
        shared = [inspect.Parameter(name, KEYWORD, default=defaults[name], annotation=types[name]) for name in OPTIONS]
        # "json" is the last parameter of every command.
        last = [parameters.pop("json").replace(kind=KEYWORD)] if "json" in parameters else []
        signature = inspect.Signature([*parameters.values(), *shared, *last])

        @functools.wraps(function)
        def with_options(*args: P.args, **options: P.kwargs) -> R:
            signature.bind(*args, **options)
            return function(*args, **{**defaults, **options})  # type: ignore[arg-type]

        with_options.__signature__ = signature  # type: ignore[attr-defined]
        function_types = {name: kind for name, kind in function.__annotations__.items() if name != "training"}
        with_options.__annotations__ = {**function_types, **types}
        return with_options

    return decorate


def check_limits(options: Mapping[str, Any]) -> None:
    """Errors: a UserError for the first option of training that is out of its range; that of those which stand in other
    commands too is in `nlpkit.base.limits`."""
    for name in OPTIONS.keys() & options.keys():
        item, value = OPTIONS[name], options[name]
        if value is not None and item.metadata["least"] is not None:
            integer = str(item.type).startswith("int")
            check_range(name, value, item.metadata["least"], item.metadata["most"], integer=integer)


def flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``locals()`` of a function with ``**training``: the options of training beside its other arguments."""
    rest = {name: value for name, value in arguments.items() if name != "training"}
    return {**rest, **arguments["training"]}
