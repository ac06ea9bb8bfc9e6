"""nlpkit report: runs as one page, or as event files for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic, file
from nlpkit.artifact.paths import check_apart
from nlpkit.base.errors import UserError, refuse
from nlpkit.reporting import sources
from nlpkit.reporting.attention import read_attention
from nlpkit.reporting.page import page
from nlpkit.reporting.tensorboard import targets, write

TITLE = "nlpkit report"


def report(
    runs: Sequence[Path],
    output: Path | None = None,
    *,
    title: str | None = None,
    attention: str | None = None,
    tensorboard: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Draw and compare runs on one page that needs no network: curves, options, evaluations, attention, lineage.

    ``runs`` are artefacts, logs and results of `nlpkit.evaluate`, in any order; a log and its artefact are
    one run. The page is at ``output``: the same files, options and versions give the same bytes. ``title`` heads it
    (default: "nlpkit report"); ``attention`` is a text that every model among the runs reads, to show its heads'
    attention. ``tensorboard`` is a folder for event files, one folder in it for each run that has a log. Errors:
    UserError for a file that is none of these, and for an option that would change nothing.
    """
    runs = [runs] if isinstance(runs, (str, Path)) else list(runs)
    if output is None and tensorboard is None:
        raise UserError("no output is requested", hint="-o report.html writes the page, --tensorboard DIR event files")
    if output is None:
        refuse({"title": title, "attention": attention}, "no page is written", hint="-o report.html writes one")
    check_apart({"runs": [Path(path) for path in runs], "output": output, "tensorboard": tensorboard})
    if str(output) == "-":
        raise UserError("a result is a file, it cannot go to stdout", where="-o -")
    if output is not None:
        atomic.check_target(Path(output), force=force)
    inputs = sources.read([Path(path) for path in runs])
    result: dict[str, Any] = {
        "runs": [{"name": run.name, "command": run.command, "sha256": run.sha256} for run in inputs.runs],
        "evaluations": len(inputs.evaluations),
    }
    event_files = None if tensorboard is None else targets(inputs, Path(tensorboard), force=force)
    if output is not None:
        maps = None if attention is None else read_attention(inputs.runs, attention)
        html = page(inputs, title=title or TITLE, text=attention, maps=maps)
        atomic.write_text(Path(output), html, force=force)
        size = Path(output).stat().st_size
        result |= {"output": str(output), "kind": "report", "sha256": file.file_sha256(Path(output)), "bytes": size}
    if event_files is not None:
        result["tensorboard"] = write(event_files)
    return result
