"""What stages share: how each that trains begins (what several processes and the device allow, the run, threads and the
log), and the tokenizer that a run was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.world import world
from nlpkit.exchange.opening import load_tokenizer
from nlpkit.machine.device import choose_device
from nlpkit.machine.threads import use_threads
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.training import resume
from nlpkit.training.compiling import check_compile
from nlpkit.training.precision import check_precision
from nlpkit.training.settings import check_parallel


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


def tokenizer_of(run: Run) -> Tokenizer | None:
    """The input ``tokenizer`` of a run; None when none was given."""
    path = run.path("tokenizer")
    return None if path is None else load_tokenizer(path)
