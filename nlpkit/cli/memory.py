"""What made a command need too much memory: the options that set sizes, and the largest file that it reads."""

from __future__ import annotations

import os
from collections.abc import Sequence

# Options that set the size of a model, a vocabulary or a batch; a command has some of them.
SIZES = (
    "--batch-tokens",
    "--max-len",
    "--d-model",
    "--d-ff",
    "--n-layers",
    "--dim",
    "--buckets",
    "--vocab-size",
    "--size",
    "--resamples",
    "--samples",
    "--max-new-tokens",
)
_USUAL = "a smaller --batch-tokens, --max-len or --size needs less"


def blame(arguments: Sequence[str]) -> tuple[str | None, str]:
    """Of a command line that ran out of memory, the file to name (the output, else the largest input), and the hint:
    the sizes that were set, and the largest input."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    pairs = list(zip(words, [*words[1:], ""], strict=True))
    output = next((value for flag, value in pairs if flag in ("-o", "--output")), None)
    sizes = [f"{flag} {value}" for flag, value in pairs if flag in SIZES]
    inputs = [(os.path.getsize(word), word) for word in words[1:] if word != output and os.path.isfile(word)]
    size, largest = max(inputs, default=(0, None))
    needs = f"less than {' or '.join(sizes)} needs less" if sizes else _USUAL
    reads = f"; the largest input is {largest}, {size:,} bytes" if largest else ""
    return output or largest, f"{needs}{reads}; ulimit -v limits it"
