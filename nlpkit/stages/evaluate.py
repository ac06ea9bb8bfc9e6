"""nlpkit evaluate: metrics of a model on held-out data, with intervals."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic, file
from nlpkit.artifact.paths import check_apart
from nlpkit.artifact.provenance import STDIN_AGAIN, STREAM_NAMES, save_stream
from nlpkit.base import contents, limits
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import UserError, refuse
from nlpkit.base.stdin import stdin
from nlpkit.evaluation import checks, classifier, language
from nlpkit.evaluation.describe import describe, sha256
from nlpkit.exchange.opening import load
from nlpkit.machine.device import choose_device
from nlpkit.machine.threads import use_threads
from nlpkit.models.load import Loaded, to_inference
from nlpkit.stages.tokens import tokens

SCHEMA = 1  # of the result


def evaluate(
    model: Path,
    data: Path,
    *,
    against: Path | None = None,
    train: Path | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    on_error: str = "error",
    format: str | None = None,
    max_len: int | None = None,
    stride: int | None = None,
    cut: str | None = None,
    mask_ratio: float | None = None,
    mask_mix: str | None = None,
    batch_tokens: int = 4096,
    resamples: int = 1000,
    min: Sequence[str] | None = None,
    max: Sequence[str] | None = None,
    seed: int = 0,
    int8: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    output: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure a classifier on a labelled file, or a language model on a token file or a text.

    The result's ``metrics`` have ``value``, ``low`` and ``high`` (95 % by bootstrap, a function of ``seed``).
    ``cut`` is how a masked model's text is cut (None: as in its pre-training, or blocks if that is unknown).
    ``against`` measures a second model, say the teacher, on the same examples: ``difference`` is paired, model minus
    other. ``train`` adds baselines trained on that file: majority class and bag of words, or word frequencies. ``min``
    and ``max`` are texts like "accuracy=0.6"; ``checks`` says which passed. ``output`` is written when all passed
    (Make would take the file of a failed check for a good one); it holds everything but ``speed``. With ``int8`` the
    model, but not the second one, computes with int8 products (nlpkit/layers/int8.py). Errors: UserError,
    also for an option that would change nothing with this kind of model.
    """
    limits.check("evaluate", locals())
    device = choose_device(device)
    options = {name: value for name, value in locals().items() if name not in ("model", "data", "against")}
    if output is not None:
        if str(output) == "-":
            raise UserError("a result is a file, it cannot go to stdout", where="-o -", hint="--json prints it")
        check_apart({"model": model, "data": data, "against": against, "train": train, "output": Path(output)})
        atomic.check_target(Path(output), force=force)
    loaded = load(model)
    described = describe(loaded)
    to_inference(loaded, int8=int8, device=device)
    kind: Any = classifier if loaded.config.get("task") else language
    with ExitStack() as stack:
        if kind is language:
            data = stack.enter_context(_readable_twice(Path(data)))  # its form is looked at before it is read
        kind.check_metrics(loaded, data, options)
        bounds = checks.parse(min or (), max or (), kind.names(loaded))
        with use_threads(threads):
            other = None if against is None else load(against)
            rival = {} if other is None else describe(other)
            if other is not None:
                to_inference(other, int8=False, device=device)
            measured = kind.evaluate(
                loaded, Path(data), other, options, **({} if kind is classifier else {"tokens_of": tokens_of})
            )
            if other is not None:
                measured["against"] = {**rival, **measured["against"]}
            result: dict[str, Any] = {"schema": SCHEMA, "model": described, **measured}
    if int8:
        result["settings"]["int8"] = True
    result["checks"] = [bound.check(bound.value(result["metrics"])) for bound in bounds]
    if output is not None and all(check["ok"] for check in result["checks"]):
        saved = {name: value for name, value in result.items() if name != "speed"}
        atomic.write_text(Path(output), canonical(saved) + "\n", force=force)
    return result


@contextmanager
def _readable_twice(data: Path) -> Iterator[Path]:
    """Data whose beginning can be read before all of it: a stream is saved to a file."""
    if str(data) != "-" and (not data.exists() or data.is_file() or data.is_dir()):
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="nlpkit-evaluate-") as folder, ExitStack() as stack:
        path = Path(folder) / "stdin"
        STREAM_NAMES[path] = "stdin" if str(data) == "-" else str(data)
        STDIN_AGAIN.add(path)
        save_stream(stdin() if str(data) == "-" else stack.enter_context(open(data, "rb")), path)
        yield path


@contextmanager
def tokens_of(data: Path, loaded: Loaded, options: Mapping[str, Any]) -> Iterator[language.Text]:
    """A token file of the data: the file itself, or a temporary one, tokenised from a text (a corpus file of any
    format, or stdin) with the model's tokenizer. Errors: options of texts given with a token file."""
    data = Path(data)
    if contents.holds_tensors(data):
        skip = None if options["on_error"] == "error" else options["on_error"]
        refuse({"text": options["text"], "on_error": skip, "format": options["format"]}, f"{data.name} is no text")
        yield language.Text(data, data.name, sha256(data))
        return
    with tempfile.TemporaryDirectory(prefix="nlpkit-evaluate-") as folder:
        token_file = Path(folder) / "tokens.safetensors"
        tokens(
            [data],
            token_file,
            tokenizer=loaded.path,
            field=options["text"] or "text",
            on_error=options["on_error"],
            format=options["format"],
            threads=options["threads"],
        )
        # The hash of what was read: a pipe cannot be read a second time.
        read = file.read(token_file).provenance["inputs"][0]
        yield language.Text(token_file, read["name"], read["sha256"])
