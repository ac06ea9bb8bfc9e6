"""The panels of `--help`: the heading under which each option is listed.

An option has one panel by its name, whatever the command; `ELSEWHERE` has the exceptions. The help of commands with
many options begins with the most used ones (`FIRST`).
"""

from __future__ import annotations

from typing import Any

USED, SEARCH, DATA, MODEL, LEARNING = "Most used", "Search", "Data", "Model", "Learning"
DECODING, MEASURING, RUNNING = "Decoding", "Measuring", "Running"
ORDER = (USED, SEARCH, DATA, MODEL, LEARNING, DECODING, MEASURING, RUNNING)

PANELS: dict[str, tuple[str, ...]] = {
    SEARCH: ("grid", "seeds", "halving"),
    DATA: (
        "text",
        "pair",
        "label",
        "labels",
        "field",
        "format",
        "on_error",
        "dev",
        "train",
        "tokenizer",
        "shard",
        "cut",
        "max_len",
        "short_fraction",
        "min_count",
        "vocab_size",
        "phrases",
        "phrase_threshold",
        "lowercase",
        "inputs",
        "restrict_vocab",
        "words_from",
        "near",
        "top",
        "prompt",
        "to",
        "pieces",
        "dir",
        "data_only",
        "title",
        "attention",
        "plus",
        "minus",
        "k",
        "strip_accents",
        "subwords",
        "buckets",
        "replay",
        "stride",
    ),
    MODEL: (
        "model",
        "size",
        "init",
        "vectors",
        "embeddings",
        "n_layers",
        "d_model",
        "n_heads",
        "d_ff",
        "dropout",
        "pooling",
        "layer",
        "normalize",
        "dim",
        "kind",
        "byte_level",
        "score",
    ),
    LEARNING: (
        "task",
        "objective",
        "recipe",
        "steps",
        "epochs",
        "batch_tokens",
        "accumulate",
        "optimizer",
        "lr",
        "schedule",
        "warmup_fraction",
        "decay_fraction",
        "final_lr_fraction",
        "momentum",
        "beta1",
        "beta2",
        "adam_eps",
        "weight_decay",
        "clip_norm",
        "eval_every",
        "patience",
        "metric",
        "freeze",
        "mask_ratio",
        "mask_mix",
        "masks",
        "mask_copies",
        "weight_kl",
        "weight_hard",
        "weight_cos",
        "engine",
        "method",
        "loss",
        "window",
        "negative",
        "sample",
        "average",
        "divide",
        "noise_exponent",
        "x_max",
        "alpha",
        "precision",
    ),
    DECODING: ("samples", "max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "stop"),
    MEASURING: ("against", "resamples", "min", "max", "analogy_score", "check", "chain", "verify"),
    RUNNING: (
        "output",
        "seed",
        "device",
        "parts",
        "parallel",
        "checkpointing",
        "compile",
        "int8",
        "threads",
        "memory",
        "memory_mb",
        "log",
        "log_every",
        "save_every",
        "force",
        "fresh",
        "dry_run",
        "json",
        "tensorboard",
        "config",
        "debug",
        "help",
    ),
}
ELSEWHERE: dict[tuple[str, str], str] = {
    ("distill", "temperature"): LEARNING,
    ("vectors map", "method"): MODEL,
    ("vectors cooccur", "window"): DATA,
    ("predict", "batch_tokens"): RUNNING,
    ("embed", "batch_tokens"): RUNNING,
    ("evaluate", "batch_tokens"): RUNNING,
    ("evaluate", "mask_ratio"): MEASURING,
    ("evaluate", "mask_mix"): MEASURING,
}
FIRST: dict[str, tuple[str, ...]] = {
    "tokenizer train": ("output", "kind", "vocab_size"),
    "tokens": ("output", "tokenizer"),
    "vectors train": ("output", "dim", "window", "epochs", "method"),
    "vectors cooccur": ("output", "window", "min_count"),
    "vectors glove": ("output", "dim", "epochs"),
    "vectors map": ("output", "near", "top"),
    "pretrain": ("output", "model", "size", "steps", "epochs", "lr", "dev"),
    "finetune": ("output", "dev", "task", "epochs", "lr", "text", "label"),
    "distill": ("output", "dev", "n_layers", "size", "epochs", "steps"),
    "tune pretrain": ("output", "dev"),
    "tune finetune": ("output", "dev"),
    "tune distill": ("output", "dev"),
    "evaluate": ("min", "against", "train", "json"),
    "predict": ("text", "json"),
    "generate": ("prompt", "max_new_tokens", "temperature", "top_p", "samples"),
    "embed": ("pooling", "normalize", "output"),
    "export": ("output", "to"),
    "import": ("output", "format"),
    "report": ("output", "tensorboard"),
}

_PANEL = {name: panel for panel, names in PANELS.items() for name in names}


def panel_of(command: str, option: str) -> str:
    """The panel of an option; Running for one that is in no table (a test checks that all are)."""
    if option in FIRST.get(command, ()):
        return USED
    return ELSEWHERE.get((command, option)) or _PANEL.get(option, RUNNING)


def arrange(command: str, params: list[Any]) -> list[Any]:
    """Parameters of a command in the order of its help, arguments first, each option with its panel."""
    first = FIRST.get(command, ())

    def rank(param: Any) -> tuple[int, int]:
        if param.param_type_name == "argument":
            return -1, 0
        param.rich_help_panel = panel_of(command, str(param.name))
        return ORDER.index(param.rich_help_panel), first.index(param.name) if param.name in first else len(first)

    return sorted(params, key=rank)
