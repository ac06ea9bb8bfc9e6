"""The ranges of options that are numbers, once: a stage checks its options by this table, and the command line takes
the limits of its flags from it.

The options that every training command has are in nlpkit/training/options.py with all that is said of them; here are
those of one command, and those that many have. A range is wide: it holds what somebody can mean, and keeps out what
would overflow, run for ever or need more memory than there is, whoever says it, a file that is verified among them.
A range of two integers is that of an integer option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nlpkit.base.errors import UserError

Range = tuple[float, float]

MAX_INTEGER = (1 << 53) - 1  # the largest that every reader of JSON holds exactly; so large may a seed be
MANY = 1_000_000_000  # steps, words, tokens
MAX_SIZE = 1 << 24  # of what a model counts: little enough that products of two do not overflow
MAX_LAYERS = 1_000  # a model must not have a million blocks built before somebody misses their weights
MAX_WINDOW = 10_000  # words on each side; a unit's rows are numbered with 16 bits
MAX_BUCKETS = 1 << 31  # the hash has 32 bits
LARGE = 1e6  # a rate or a weight; squares of it are still numbers in float32

# What an option may be wherever it stands.
EVERYWHERE: dict[str, Range] = {
    "seed": (0, MAX_INTEGER),
    "threads": (1, 4096),
    "save_every": (1, MANY),
    "batch_tokens": (1, MANY),
    "max_len": (1, MAX_SIZE),
    "n_layers": (1, MAX_LAYERS),
    "d_model": (1, MAX_SIZE),
    "n_heads": (1, MAX_SIZE),
    "d_ff": (1, MAX_SIZE),
    "dropout": (0.0, 1.0),
    "mask_ratio": (0.0, 1.0),
    "mask_copies": (1, MANY),
    "short_fraction": (0.0, 1.0),
    "min_count": (1, MANY),
    "resamples": (1, 1_000_000),
    "k": (1, MANY),
}
_WORDS: dict[str, Range] = {
    "window": (1, MAX_WINDOW),
    "vocab_size": (2, MANY),
    "phrases": (1, 100),  # a pass joins two words; what a hundred join is no phrase
    "phrase_threshold": (0.0, 1e300),
}
# What an option of one command may be.
OF: dict[str, dict[str, Range]] = {
    "tokenizer train": {"vocab_size": (1, MAX_SIZE)},
    "vectors train": {
        **_WORDS,
        "dim": (1, 1 << 16),
        "negative": (1, 10_000),
        "buckets": (1, MAX_BUCKETS),
        "sample": (0.0, LARGE),
        "epochs": (0, 1_000_000),
        "patience": (1, 1_000_000),
        "lr": (0.0, LARGE),
        "noise_exponent": (-10.0, 10.0),
    },
    "vectors cooccur": {**_WORDS, "memory_mb": (1, 1 << 30)},
    "vectors glove": {
        "dim": (1, 1 << 16),
        "epochs": (0, 1_000_000),
        "lr": (0.0, LARGE),
        "x_max": (0.0, 1e18),
        "alpha": (0.0, 10.0),
    },
    "vectors evaluate": {"restrict_vocab": (4, MANY)},
    "vectors map": {"top": (1, MANY)},
    "distill": {
        "weight_kl": (0.0, LARGE),
        "weight_hard": (0.0, LARGE),
        "weight_cos": (0.0, LARGE),
        "temperature": (0.0, LARGE),
        "replay": (1, MAX_SIZE),
    },
    "evaluate": {"stride": (1, MAX_SIZE)},
    "generate": {
        "samples": (1, MANY),
        "max_new_tokens": (1, MANY),
        "temperature": (0.0, LARGE),
        "top_k": (1, MANY),
    },
    "embed": {"layer": (0, MAX_LAYERS)},
}


def range_of(command: str, name: str) -> Range | None:
    """What an option of a command may be, from the least to the most; None where nothing is said here. A
    search takes what its command takes."""
    return OF.get(command.removeprefix("tune "), {}).get(name) or EVERYWHERE.get(name)


def check(command: str, options: Mapping[str, Any]) -> None:
    """Errors: a UserError for the first option of a command that is out of its range, or no finite number."""
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name.replace('_', '-')} is {value}, expected a finite number")
        if value is not None and (allowed := range_of(command, name)) is not None:
            check_range(name, value, *allowed)


def check_range(name: str, value: Any, least: float | None, most: float | None, *, integer: bool | None = None) -> None:
    """Errors: a value that is not a number from ``least`` to ``most`` (None: no limit). ``integer`` None: the option is
    one if ``least`` is."""
    flag = name.replace("_", "-")
    integer = isinstance(least, int) if integer is None else integer
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        raise UserError(f"{flag} is {repr(value)[:60]}, expected {'an integer' if integer else 'a number'}")
    if least is not None and not value >= least:  # a NaN is not
        raise UserError(f"{flag} is {value}, expected at least {_text(least)}")
    if most is not None and not value <= most:
        raise UserError(f"{flag} is {value}, expected at most {_text(most)}")


def _text(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"
