"""Messages for common usage errors: flags of other tools, abbreviated flags, text where a number is expected.
docs/coming-from.md has the same names in tables; tests hold both to the flags that exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

# Flags of transformers' example scripts, gensim and fairseq -> the flag or command here.
FOREIGN: dict[str, str] = {
    "learning-rate": "--lr",
    "num-train-epochs": "--epochs",
    "num-epochs": "--epochs",
    "max-epoch": "--epochs",
    "max-steps": "--steps",
    "max-update": "--steps",
    "per-device-train-batch-size": "--batch-tokens, in tokens and not in sequences",
    "per-gpu-train-batch-size": "--batch-tokens, in tokens and not in sequences",
    "per-device-eval-batch-size": "--batch-tokens, in tokens and not in sequences",
    "train-batch-size": "--batch-tokens, in tokens and not in sequences",
    "batch-size": "--batch-tokens, in tokens and not in sequences",
    "max-tokens": "--batch-tokens",
    "gradient-accumulation-steps": "--accumulate",
    "update-freq": "--accumulate",
    "lr-scheduler-type": "--schedule",
    "lr-scheduler": "--schedule",
    "warmup-ratio": "--warmup-fraction",
    "warmup-steps": "--warmup-fraction, a fraction of all steps",
    "num-warmup-steps": "--warmup-fraction, a fraction of all steps",
    "warmup-updates": "--warmup-fraction, a fraction of all steps",
    "adam-beta1": "--beta1",
    "adam-beta2": "--beta2",
    "adam-epsilon": "--adam-eps",
    "optim": "--optimizer",
    "max-grad-norm": "--clip-norm",
    "train-file": "an argument: the file's name alone, without a flag",
    "validation-file": "--dev",
    "valid-file": "--dev",
    "test-file": "nlpkit evaluate MODEL FILE",
    "output-dir": "-o FILE.safetensors",
    "save-dir": "-o FILE.safetensors",
    "overwrite-output-dir": "--force",
    "resume-from-checkpoint": "nothing: the same command again resumes (--fresh starts over)",
    "max-seq-length": "--max-len",
    "block-size": "--max-len",
    "tokens-per-sample": "--max-len",
    "mlm-probability": "--mask-ratio",
    "model-type": "--model",
    "arch": "--model and --size",
    "criterion": "--objective",
    "model-name-or-path": "an argument of finetune, --init of pretrain",
    "restore-file": "--init",
    "tokenizer-name": "--tokenizer of nlpkit tokens",
    "text-column-name": "--text",
    "label-column-name": "--label",
    "logging-steps": "--log-every",
    "log-interval": "--log-every",
    "save-steps": "--save-every",
    "eval-steps": "--eval-every",
    "metric-for-best-model": "--metric",
    "load-best-model-at-end": "--dev, which keeps the best weights",
    "early-stopping-patience": "--patience",
    "fp16": "--precision float16",
    "bf16": "--precision bfloat16",
    "gradient-checkpointing": "--checkpointing",
    "torch-compile": "--compile",
    "do-train": "nothing: each stage is a separate command (nlpkit --help)",
    "do-eval": "nlpkit evaluate MODEL FILE",
    "do-predict": "nlpkit predict MODEL FILE",
    "num-return-sequences": "--samples",
    "do-sample": "nothing: --temperature 0 is greedy, the default draws",
    "vector-size": "--dim",
    "embedding-dim": "--dim",
    "sg": "--method skipgram or cbow",
    "hs": "--loss hs",
    "ns-exponent": "--noise-exponent",
    "cbow-mean": "--average or --no-average",
    "workers": "--threads",
    "max-final-vocab": "--vocab-size",
    "bucket": "--buckets",
    "min-n": "--subwords, such as 3-6",
    "max-n": "--subwords, such as 3-6",
    "iter": "--epochs",
}
AFTER = ("--config", "--debug", "--dry-run", "-n", "--json")  # options of every command, and of no group
_NUMBERS = {"int": "an integer, such as 1000", "integer": "an integer, such as 1000", "float": "a number, such as 5e-4"}


def unknown_option(flag: str, flags: Collection[str]) -> str:
    """The message for a flag that a command (with these ``flags``) does not have."""
    name = flag.partition("=")[0].lstrip("-").replace("_", "-").lower()
    if f"--{name}" in flags:  # an underscore or a capital
        return f'no option {flag}; did you mean "--{name}"?'
    if name in FOREIGN:
        return f"no option {flag}; here it is {FOREIGN[name]}"
    longer = sorted((known for known in flags if known.startswith(f"--{name}") and name), key=len)
    close = longer or difflib.get_close_matches(f"--{name}", sorted(flags), n=1, cutoff=0.6)
    return f"no option {flag}" + (f'; did you mean "{close[0]}"?' if close else "")


def message(error: Any) -> str:
    """The message for an error of the parser, with the expected value."""
    if type(error).__name__ == "NoSuchOption" and error.ctx is not None:
        params = error.ctx.command.get_params(error.ctx)
        flags = [flag for param in params for flag in (*param.opts, *param.secondary_opts) if flag.startswith("--")]
        if str(error.option_name) in ("-o", "--output"):
            return f"no option {error.option_name}; {error.ctx.command.name} writes to stdout: > FILE"
        if error.option_name in AFTER and getattr(error.ctx.command, "prefix", None) is not None:  # of a group
            return f"no option {error.option_name} before the command; write it after the command"
        return unknown_option(str(error.option_name), flags)
    text = str(error.format_message())
    param: Any = getattr(error, "param", None)
    expected = _NUMBERS.get(getattr(getattr(param, "type", None), "name", "").removesuffix(" range"))
    if expected and "is not a valid" in text:
        value = str(error.message).partition(" is not a valid")[0].strip("'\"")
        flag = next((flag for flag in param.opts if flag.startswith("--")), str(param.name))
        return f'{flag} is "{value}", expected {expected}'
    return text
