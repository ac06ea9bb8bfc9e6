"""A pre-trained model measured on a token file or a text: see perplexity.py for what is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpkit.artifact import file
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.data import framing as framings
from nlpkit.data.checks import check_tokenizer
from nlpkit.data.labelled import has_column
from nlpkit.data.pretraining import SOURCES, source
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.evaluation.describe import timed
from nlpkit.evaluation.perplexity import Answers, EveryToken, Exam, Masked, by_frequency, by_model, take_exam
from nlpkit.measure import intervals, metrics
from nlpkit.models.load import Loaded
from nlpkit.objectives import mlm
from nlpkit.objectives.base import vocabulary


@dataclass(frozen=True)
class Text:
    """What is measured: a token file, and the name and the sha256 of the file it was made of."""

    path: Path
    name: str
    sha256: str


# Makes a token file of data, or finds that it is one; the file is there as long as the context is.
Tokenising = Callable[[Path, Loaded, Mapping[str, Any]], AbstractContextManager[Text]]


def names(loaded: Loaded) -> list[str]:
    """Every metric there will be."""
    asked = objective(loaded)
    return ["loss", "perplexity", f"{asked}_accuracy", *(["bits_per_byte"] if asked == "clm" else [])]


def check_metrics(loaded: Loaded, data: Path, bounds: Sequence[str], format: str | None = None) -> None:
    """``bounds`` are the texts of --min and --max. Errors: a metric of classifiers, of a model that is none; examples
    with labels where no bound says that a language model is to be measured on their texts."""
    asked = [text.partition("=")[0] for text in bounds]
    wrong = [name for name in asked if name in metrics.METRICS or name.startswith("f1.")]
    labels = not asked and has_column(data, "label", format)
    if wrong or labels:
        what = f"{wrong[0]} cannot be measured" if wrong else f'the labels of {data.name} (column "label") say nothing'
        own = ", ".join(names(loaded))
        raise UserError(
            f"has no classifier: it was pre-trained, but not fine-tuned, so {what}",
            where=loaded.path,
            hint=f"nlpkit finetune {loaded.path.name} train.jsonl -o classifier.safetensors makes one; "
            f"as a language model it has {own}, which --min and --max name",
        )


def objective(loaded: Loaded) -> str:
    """What the model is asked: "mlm" or "clm". Errors: a model without such a head."""
    wanted = loaded.family.objective
    if wanted not in loaded.model.heads:
        raise UserError(
            f'has neither a classifier nor a head "{wanted}", so there is nothing to measure',
            where=loaded.path,
            hint="nlpkit finetune makes a classifier of it",
        )
    return wanted


def evaluate(
    loaded: Loaded, data: Path, other: Loaded | None, options: Mapping[str, Any], tokens_of: Tokenising
) -> dict[str, Any]:
    """The result of a language model on a token file or a text, by way of ``tokens_of``. Errors: a token file of
    another tokenizer."""
    asked, max_len = objective(loaded), loaded.length(options["max_len"])
    wrong = ("stride",) if asked == "mlm" else ("cut", "mask_ratio", "mask_mix")
    refuse({name: options[name] for name in wrong}, f'the model\'s objective is "{asked}"')
    refuse({name: options[name] for name in ("pair", "label")}, "the model is no classifier")
    if asked == "mlm":
        options = {**options, "cut": options["cut"] or cut_of(loaded)}
        choose(SOURCES, options["cut"], field="cut")
    with ExitStack() as stack:
        text = stack.enter_context(tokens_of(data, loaded, options))
        files = TokenFiles.open([text.path])
        check_tokenizer(files, loaded.need_tokenizer(), "the model's", where=data)
        if other is not None:
            _check_comparable(other, files, asked, max_len)
        taught = files
        if options["train"] is not None:
            taught = TokenFiles.open([stack.enter_context(tokens_of(options["train"], loaded, options)).path])
            check_tokenizer(taught, loaded.need_tokenizer(), "the model's", where=options["train"])
        n_bytes = int(file.read(text.path).config["n_bytes"]) if asked == "clm" else None
        exam = masked(files, loaded, max_len, options) if asked == "mlm" else every(files, loaded, max_len, options)
        answers, speed = _take(exam, loaded, options, "evaluate")
        frequency = by_frequency(taught, loaded.model.config.vocab_size)
        guessed = take_exam(exam, frequency, batch_tokens=options["batch_tokens"])
        result: dict[str, Any] = {
            "task": asked,
            "data": {
                "name": text.name,
                "sha256": text.sha256,
                "tokens": files.n_tokens,
                "sequences": exam.n,
                "answers": int(answers.counts.sum()),
                "bytes": n_bytes,
            },
            "settings": _settings(asked, max_len, options),
            "metrics": _measured(answers, options, n_bytes),
            "baselines": {"unigram": {**_measured(guessed, options, n_bytes)}},
            "speed": {"model": speed},
        }
        if other is not None:
            theirs, result["speed"]["against"] = _take(exam, other, options, "against")
            result["against"] = {"metrics": _measured(theirs, options, n_bytes)}
            difference = answers.minus(theirs, options["seed"], options["resamples"])
            result["difference"] = {name: value.to_json() for name, value in difference.items()}
    return result


def cut_of(loaded: Loaded) -> str:
    """How the text of a model's pre-training was cut: a model of short sequences knows nothing of others. Blocks where
    its file does not say, as one that another tool made."""
    return str((loaded.config.get("training") or {}).get("cut") or mlm.MaskedLM.source)


def masked(files: TokenFiles, loaded: Loaded, max_len: int, options: Mapping[str, Any]) -> Masked:
    """The questions to a masked model."""
    tokenizer = loaded.need_tokenizer()
    frame = framings.framing(loaded.family.framing, tokenizer)
    room = max(max_len, options["batch_tokens"])  # of the order in which a run reads; an exam has its own
    data = source(options["cut"], files, frame, max_len=max_len, batch_tokens=room, seed=options["seed"])
    given = {name: options[name] for name in ("mask_ratio", "mask_mix")}
    task = mlm.build(vocabulary(tokenizer), {**given, "masks": None, "mask_copies": None})
    return Masked(data, task, options["seed"])


def every(files: TokenFiles, loaded: Loaded, max_len: int, options: Mapping[str, Any]) -> EveryToken:
    """The questions to a causal model. Errors: a stride that windows of ``max_len`` do not allow, no text."""
    stride = options["stride"] or max_len
    if not 1 <= stride <= max_len:
        raise UserError(f"stride is {stride}, expected 1 to {max_len}, the length of a window")
    if files.n_tokens == 0:
        raise UserError("holds no tokens", where=files.name)
    return EveryToken(files, framings.framing(loaded.family.framing, loaded.need_tokenizer()), max_len, stride)


def _take(exam: Exam, loaded: Loaded, options: Mapping[str, Any], label: str) -> tuple[Answers, dict[str, float]]:
    guess = by_model(loaded.model, exam.head, options["device"])
    return timed(lambda: take_exam(exam, guess, batch_tokens=options["batch_tokens"], label=label), exam.n)


def _measured(answers: Answers, options: Mapping[str, Any], n_bytes: int | None) -> dict[str, Any]:
    found = answers.measure(options["seed"], options["resamples"], n_bytes)
    return {name: value.to_json() for name, value in found.items()}


def _settings(asked: str, max_len: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers depend on."""
    own: dict[str, Any] = {"stride": options["stride"] or max_len}
    if asked == "mlm":
        own = {
            "cut": options["cut"],
            "mask_ratio": options["mask_ratio"] or mlm.RATIO,
            "mask_mix": options["mask_mix"] or mlm.MIX,
        }
    return {
        "seed": options["seed"],
        "resamples": options["resamples"],
        "level": intervals.LEVEL,
        "max_len": max_len,
        **own,
    }


def _check_comparable(other: Loaded, files: TokenFiles, asked: str, max_len: int) -> None:
    """Errors: what keeps a second model from being asked the same."""
    if other.need_tokenizer().fingerprint != files.tokenizer.fingerprint:
        raise UserError(
            "has another tokenizer, so it is not asked the same",
            where=other.path,
            hint="measure each by itself and compare bits_per_byte",
        )
    if objective(other) != asked:
        raise UserError(
            f"answers {objective(other)}, the first model {asked}",
            where=other.path,
            hint="masked and causal models are asked different things",
        )
    if other.model.config.max_len < max_len:
        raise UserError(
            f"reads at most {other.model.config.max_len} tokens",
            where=other.path,
            hint=f"--max-len {other.model.config.max_len} measures both alike",
        )
