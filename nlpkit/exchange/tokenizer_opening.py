"""Whatever a command names as --tokenizer: a file of ours, or a Hugging Face directory. It needs no torch."""

from __future__ import annotations

from pathlib import Path

from nlpkit import tokenizers
from nlpkit.artifact.provenance import Run
from nlpkit.tokenizers.base import Tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a file (a tokenizer, or any that carries one) or of a Hugging Face directory. Errors: there
    is none."""
    path = Path(path)
    if path.is_dir():
        from nlpkit.exchange import tokenizer_files

        return tokenizer_files.read(path)
    return tokenizers.load(path)


def tokenizer_of(run: Run) -> Tokenizer | None:
    """The input ``tokenizer`` of a run; None without one."""
    path = run.path("tokenizer")
    return None if path is None else load_tokenizer(path)
