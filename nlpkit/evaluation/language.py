"""Evaluation of a pre-trained language model on a token file or a text; perplexity.py computes the losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from nlpkit.evaluation.checks import requested_names
from nlpkit.evaluation.describe import timed
from nlpkit.evaluation.perplexity import EveryToken, Masked, Predictions, TestSet, by_frequency, by_model, evaluate_on
from nlpkit.measure import intervals, metrics
from nlpkit.models.load import Loaded
from nlpkit.objectives import mlm
from nlpkit.objectives.base import vocabulary


@dataclass(frozen=True)
class Text:
    """The text of an evaluation: a token file, and the name and the sha256 of the file it was built from."""

    path: Path
    name: str
    sha256: str


# Builds a token file from data that is not one yet; the file exists as long as the context is open.
Tokenising = Callable[[Path, Loaded, Mapping[str, Any]], AbstractContextManager[Text]]


def names(loaded: Loaded) -> list[str]:
    """Every metric of the result."""
    head = objective(loaded)
    return ["loss", "perplexity", f"{head}_accuracy", *(["bits_per_byte"] if head == "clm" else [])]


def check_metrics(loaded: Loaded, data: Path, options: Mapping[str, Any]) -> None:
    """Errors: a bound on a classifier's metric; labelled examples, unless a bound or ``text`` shows that the evaluation
    as a language model is intended."""
    requested = requested_names(options)
    wrong = [name for name in requested if name in metrics.METRICS or name == "f1" or name.startswith("f1.")]
    intended = bool(requested) or options["text"] is not None
    labels = not intended and has_column(data, "label", options["format"])
    if wrong or labels:
        column = f'the column "label" of {data.name} has no use'
        what = f"{wrong[0]} cannot be measured" if wrong else column
        available = ", ".join(names(loaded))
        texts = "" if wrong else "; --text text evaluates it on the texts alone"
        raise UserError(
            f"has no classifier: it was pre-trained, but not fine-tuned, so {what}",
            where=loaded.path,
            hint=f"nlpkit finetune {loaded.path.name} train.jsonl -o classifier.safetensors makes one; "
            f"as a language model it has the metrics {available}, for --min and --max{texts}",
        )


def objective(loaded: Loaded) -> str:
    """The objective of the evaluation: "mlm" or "clm". Errors: a model without such a head."""
    wanted = loaded.family.objective
    if wanted not in loaded.model.heads:
        raise UserError(
            f'has neither a classifier nor a head "{wanted}", so it cannot be evaluated',
            where=loaded.path,
            hint="nlpkit finetune trains a classifier on top of it",
        )
    return wanted


def evaluate(
    loaded: Loaded, data: Path, other: Loaded | None, options: Mapping[str, Any], tokens_of: Tokenising
) -> dict[str, Any]:
    """The result of a language model on a token file, or on a text that ``tokens_of`` tokenizes. Errors: a token file
    of another tokenizer."""
    head, max_len = objective(loaded), loaded.length(options["max_len"])
    wrong = ("stride",) if head == "mlm" else ("cut", "mask_ratio", "mask_mix")
    refuse({name: options[name] for name in wrong}, f'the model\'s objective is "{head}"')
    refuse(
        {name: options[name] for name in ("pair", "label")},
        "the model is no classifier",
        hint=f"nlpkit finetune {loaded.path.name} train.jsonl -o classifier.safetensors makes one; or leave it out",
    )
    if head == "mlm":
        options = {**options, "cut": options["cut"] or cut_of(loaded)}
        choose(SOURCES, options["cut"], field="cut")
    with ExitStack() as stack:
        text = stack.enter_context(tokens_of(data, loaded, options))
        files = TokenFiles.open([text.path])
        check_tokenizer(files, loaded.need_tokenizer(), "the model's", where=data)
        if other is not None:
            _check_comparable(other, files, head, max_len)
        train = files
        if options["train"] is not None:
            train = TokenFiles.open([stack.enter_context(tokens_of(options["train"], loaded, options)).path])
            check_tokenizer(train, loaded.need_tokenizer(), "the model's", where=options["train"])
        n_bytes = int(file.read(text.path).config["n_bytes"]) if head == "clm" else None
        test_set = masked(files, loaded, max_len, options) if head == "mlm" else every(files, loaded, max_len, options)
        predictions, speed = _evaluate_on(test_set, loaded, options, "evaluate")
        frequency = by_frequency(train, loaded.model.config.vocab_size)
        unigram = evaluate_on(test_set, frequency, batch_tokens=options["batch_tokens"])
        result: dict[str, Any] = {
            "task": head,
            "data": {
                "name": text.name,
                "sha256": text.sha256,
                "tokens": files.n_tokens,
                "sequences": test_set.n,
                "answers": int(predictions.counts.sum()),
                "bytes": n_bytes,
            },
            "settings": _settings(head, max_len, options),
            "metrics": _measured(predictions, options, n_bytes),
            "baselines": {"unigram": {**_measured(unigram, options, n_bytes)}},
            "over_baselines": {"unigram": _difference(predictions, unigram, options)},
            "speed": {"model": speed},
        }
        if other is not None:
            theirs, result["speed"]["against"] = _evaluate_on(test_set, other, options, "against")
            result["against"] = {"metrics": _measured(theirs, options, n_bytes)}
            result["difference"] = _difference(predictions, theirs, options)
    return result


def cut_of(loaded: Loaded) -> str:
    """How pre-training cut the text: a model of short sequences has not seen longer ones. Blocks where its file does
    not record it, as with an imported model."""
    return str((loaded.config.get("training") or {}).get("cut") or mlm.MaskedLM.source)


def masked(files: TokenFiles, loaded: Loaded, max_len: int, options: Mapping[str, Any]) -> Masked:
    """The test set of a masked model."""
    tokenizer = loaded.need_tokenizer()
    frame = framings.framing(loaded.family.framing, tokenizer)
    batch_tokens = max(max_len, options["batch_tokens"])  # of training batches, which are not used here
    data = source(options["cut"], files, frame, max_len=max_len, batch_tokens=batch_tokens, seed=options["seed"])
    masking = {name: options[name] for name in ("mask_ratio", "mask_mix")}
    task = mlm.build(vocabulary(tokenizer), {**masking, "masks": None, "mask_copies": None})
    return Masked(data, task, options["seed"])


def every(files: TokenFiles, loaded: Loaded, max_len: int, options: Mapping[str, Any]) -> EveryToken:
    """The test set of a causal model. Errors: a stride that windows of ``max_len`` do not allow, no text."""
    stride = options["stride"] or max_len
    if not 1 <= stride <= max_len:
        raise UserError(f"stride is {stride}, expected 1 to {max_len}, the length of a window")
    if files.n_tokens == 0:
        raise UserError("holds no tokens", where=files.name)
    return EveryToken(files, framings.framing(loaded.family.framing, loaded.need_tokenizer()), max_len, stride)


def _evaluate_on(
    test_set: TestSet, loaded: Loaded, options: Mapping[str, Any], label: str
) -> tuple[Predictions, dict[str, float]]:
    guess = by_model(loaded.model, test_set.head, options["device"])
    return timed(lambda: evaluate_on(test_set, guess, batch_tokens=options["batch_tokens"], label=label), test_set.n)


def _measured(predictions: Predictions, options: Mapping[str, Any], n_bytes: int | None) -> dict[str, Any]:
    values = predictions.measure(options["seed"], options["resamples"], n_bytes)
    return {name: value.to_json() for name, value in values.items()}


def _difference(one: Predictions, other: Predictions, options: Mapping[str, Any]) -> dict[str, Any]:
    values = one.minus(other, options["seed"], options["resamples"])
    return {name: value.to_json() for name, value in values.items()}


def _settings(head: str, max_len: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the metrics depend on."""
    specific: dict[str, Any] = {"stride": options["stride"] or max_len}
    if head == "mlm":
        specific = {
            "cut": options["cut"],
            "mask_ratio": options["mask_ratio"] or mlm.RATIO,
            "mask_mix": options["mask_mix"] or mlm.MIX,
        }
    return {
        "seed": options["seed"],
        "resamples": options["resamples"],
        "level": intervals.LEVEL,
        "max_len": max_len,
        **specific,
    }


def _check_comparable(other: Loaded, files: TokenFiles, head: str, max_len: int) -> None:
    """Errors: a second model that cannot be evaluated on the same tokens."""
    if other.need_tokenizer().fingerprint != files.tokenizer.fingerprint:
        raise UserError(
            "has another tokenizer, so the losses cannot be compared",
            where=other.path,
            hint="evaluate each separately and compare bits_per_byte",
        )
    if objective(other) != head:
        raise UserError(
            f"has the objective {objective(other)}, the first model {head}",
            where=other.path,
            hint="masked and causal models are evaluated on different tokens",
        )
    if other.model.config.max_len < max_len:
        raise UserError(
            f"reads at most {other.model.config.max_len} tokens",
            where=other.path,
            hint=f"--max-len {other.model.config.max_len} evaluates both with the same sequences",
        )
