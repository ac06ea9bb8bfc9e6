"""Checks before data are read."""

from __future__ import annotations

from pathlib import Path

from nlpkit.base.errors import UserError
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.tokenizers.base import Tokenizer


def check_tokenizer(files: TokenFiles, tokenizer: Tokenizer, whose: str, *, where: Path) -> None:
    """Errors: token files whose tokenizer is not the one that ``whose`` names."""
    if files.tokenizer.fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"was made with another tokenizer ({files.tokenizer.vocab_size:,} pieces) than {whose} "
            f"({tokenizer.vocab_size:,})",
            where=where,
            hint="give nlpkit tokens --tokenizer the file that has the right one",
        )
