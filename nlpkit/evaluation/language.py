"""A pre-trained model measured on a token file or a text: see perplexity.py for what is asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit.artifact import file
from nlpkit.data import framing as framings
from nlpkit.data.pretraining import blocks
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.errors import UserError
from nlpkit.evaluation import intervals
from nlpkit.evaluation.describe import describe, sha256, timed
from nlpkit.evaluation.perplexity import Answers, EveryToken, Exam, Masked, by_frequency, by_model, take_exam
from nlpkit.models.load import Loaded
from nlpkit.objectives import mlm
from nlpkit.tasks.reading import length
from nlpkit.training.pretrain import vocabulary


def names(loaded: Loaded) -> list[str]:
    """Every metric there will be."""
    return ["loss", "perplexity", "accuracy", *(["bits_per_byte"] if objective(loaded) == "clm" else [])]


def objective(loaded: Loaded) -> str:
    """What the model is asked: "mlm" or "clm". Errors: a model without such a head."""
    wanted = loaded.family.objective
    if wanted not in loaded.model.heads:
        raise UserError(
            f'has neither a classifier nor a head "{wanted}", so there is nothing to measure', where=loaded.path,
            hint="nlpkit finetune makes a classifier of it",
        )  # fmt: skip
    return wanted


def evaluate(loaded: Loaded, data: Path, other: Loaded | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a language model on a token file or a text. Errors: a token file of another tokenizer."""
    asked, max_len = objective(loaded), length(loaded, options["max_len"])
    with tokens_of(data, loaded) as path:
        files = TokenFiles.open([path])
        _same_tokenizer(files, loaded, data)
        n_bytes = int(file.read(path).config["n_bytes"]) if asked == "clm" else None
        exam = masked(files, loaded, max_len, options) if asked == "mlm" else every(files, loaded, max_len, options)
        answers, speed = _take(exam, loaded, options, "evaluate")
        taught = files
        if options["train"] is not None:
            taught = TokenFiles.open([options["train"]])
            _same_tokenizer(taught, loaded, options["train"])
        frequency = by_frequency(taught, loaded.model.config.vocab_size)
        guessed = take_exam(exam, frequency, batch_tokens=options["batch_tokens"])
        result: dict[str, Any] = {
            "task": asked,
            "data": {"name": data.name, "sha256": sha256(data), "tokens": files.n_tokens, "sequences": exam.n,
                     "answers": int(answers.counts.sum()), "bytes": n_bytes},
            "settings": _settings(asked, max_len, options),
            "metrics": _measured(answers, options, n_bytes),
            "baselines": {"unigram": {**_measured(guessed, options, n_bytes)}},
            "speed": {"model": speed},
        }  # fmt: skip
        if other is not None:
            theirs, result["speed"]["against"] = _take(
                exam, _comparable(other, files, asked, max_len), options, "against"
            )
            result["against"] = {**describe(other), "metrics": _measured(theirs, options, n_bytes)}
            difference = answers.minus(theirs, options["seed"], options["resamples"])
            result["difference"] = {name: value.to_json() for name, value in difference.items()}
    return result


@contextmanager
def tokens_of(data: Path, loaded: Loaded) -> Iterator[Path]:
    """A token file of the data: the file itself, or a temporary one made of a text with the model's tokenizer."""
    if data.suffix == ".safetensors":
        yield data
        return
    from nlpkit.data.tokens import tokens

    with tempfile.TemporaryDirectory(prefix="nlpkit-evaluate-") as folder:
        made = Path(folder) / "tokens.safetensors"
        tokens([data], made, tokenizer=loaded.path)
        yield made


def masked(files: TokenFiles, loaded: Loaded, max_len: int, options: Mapping[str, Any]) -> Masked:
    """The questions to a masked model."""
    tokenizer = loaded.need_tokenizer()
    frame = framings.framing(loaded.family.framing, tokenizer)
    data = blocks(files, frame, max_len=max_len, batch_tokens=options["batch_tokens"], seed=options["seed"])
    given = {"mask_ratio": options["mask_ratio"], "mask_mix": options["mask_mix"], "masks": "dynamic", "mask_copies": 1}
    return Masked(data, mlm.build(vocabulary(tokenizer), given), options["seed"])


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
    own = {"mask_ratio": options["mask_ratio"], "mask_mix": options["mask_mix"]}
    if asked == "clm":
        own = {"stride": options["stride"] or max_len}
    return {"seed": options["seed"], "resamples": options["resamples"], "level": intervals.LEVEL, "max_len": max_len,
            **own}  # fmt: skip


def _same_tokenizer(files: TokenFiles, loaded: Loaded, where: Path) -> None:
    own = loaded.need_tokenizer()
    if files.tokenizer.fingerprint != own.fingerprint:
        raise UserError(
            f"was made with another tokenizer ({files.tokenizer.vocab_size:,} pieces) than the model's "
            f"({own.vocab_size:,})",
            where=where, hint=f"nlpkit tokens --tokenizer {loaded.path.name}, or give the text itself",
        )  # fmt: skip


def _comparable(other: Loaded, files: TokenFiles, asked: str, max_len: int) -> Loaded:
    """A second model that can be asked the same. Errors: what keeps it from that."""
    if other.need_tokenizer().fingerprint != files.tokenizer.fingerprint:
        raise UserError("has another tokenizer, so it is not asked the same", where=other.path,
                        hint="measure each by itself and compare bits_per_byte")  # fmt: skip
    if objective(other) != asked:
        raise UserError(f"answers {objective(other)}, the first model {asked}", where=other.path)
    if other.model.config.max_len < max_len:
        raise UserError(f"reads at most {other.model.config.max_len} tokens", where=other.path,
                        hint=f"--max-len {other.model.config.max_len} measures both alike")  # fmt: skip
    return other
