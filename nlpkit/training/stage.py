"""How every stage that trains begins: what several processes and the device allow, the run, threads and the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit import events
from nlpkit.artifact.provenance import Run
from nlpkit.device import choose_device
from nlpkit.training import resume
from nlpkit.training.compiling import check_compile
from nlpkit.training.precision import check_precision
from nlpkit.training.settings import check_parallel
from nlpkit.training.threads import use_threads
from nlpkit.world import world


@contextmanager
def training_run(
    command: str, arguments: Mapping[str, Any], *, inputs: tuple[str, ...]
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Inside the block a run of this command is at work; given are the run and all arguments of its function
    (``flat(locals())``), the device and the number of parts now those that are used. ``inputs`` names the arguments
    that are files. Errors: UserError for what cannot be begun (`Run.start`)."""
    check_parallel(arguments["parallel"], world().size)
    device = choose_device(arguments["device"])
    parts = resume.parts_of(arguments["parts"], Path(arguments["output"]), fresh=arguments["fresh"])
    check_precision(arguments["precision"], device)
    check_compile(arguments["compile"], device)
    given = {**arguments, "device": device, "parts": parts}
    run = Run.start(command, given, inputs=inputs, libraries=("torch", "numpy"))
    with use_threads(given["threads"]), events.log_to(given["log"]):
        yield run, given
