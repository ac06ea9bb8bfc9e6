"""The start of every stage that trains: checks of processes and device, the run, threads and the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.world import world
from nlpkit.machine.device import choose_device
from nlpkit.machine.threads import use_threads
from nlpkit.models.base import Model
from nlpkit.models.sizes import SIZES
from nlpkit.training import optimizers, resume
from nlpkit.training.compiling import check_compile
from nlpkit.training.options import check_limits
from nlpkit.training.precision import check_precision
from nlpkit.training.settings import Settings, check_parallel


@contextmanager
def training_run(
    command: str, arguments: Mapping[str, Any], *, inputs: tuple[str, ...], settled: bool = True
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """A run of this command for the block; yields the run and all arguments of its function (``flat(locals())``) with
    the device and the number of parts that are used. ``inputs`` names the arguments that are files; ``settled`` is as
    in `Run.start`. Errors: those of `Run.start`."""
    check_limits(arguments)
    check_parallel(arguments["parallel"], world().size)
    device = choose_device(arguments["device"])
    parts = resume.parts_of(arguments["parts"], Path(arguments["output"]), fresh=arguments["fresh"])
    check_precision(arguments["precision"], device)
    check_compile(arguments["compile"], device)
    options = {**arguments, "device": device, "parts": parts}
    run = Run.start(command, options, inputs=inputs, libraries=("torch", "numpy"), settled=settled)
    with use_threads(options["threads"]), events.log_to(options["log"]):
        yield run, options


def resolved(network: Model, settings: Settings, **more: Any) -> dict[str, Any]:
    """The values that a training run chose for options without one: the model's shape, steps, ``more``."""
    config = network.config
    shape = {name: getattr(config, name) for name in ("n_layers", "d_model", "n_heads", "d_ff", "max_len", "dropout")}
    named = (name for name, size in SIZES.items() if (size.n_layers, size.d_model) == (config.n_layers, config.d_model))
    size = next(named, f"{config.n_layers} x {config.d_model}")
    return {
        "model": network.family,
        "size": size,
        **shape,
        "steps": settings.steps,
        "parts": settings.parts,
        **optimizers.resolved(settings),
        **more,
    }
