"""Tokenizers: one kind a line, and the ways from files to objects."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpkit.base.errors import UserError, choose

if TYPE_CHECKING:
    from nlpkit.tokenizers.base import Tokenizer

# Kind -> the class; each has from_json(dict), the way back from its to_json().
KINDS: dict[str, str] = {
    "bpe": "nlpkit.tokenizers.bpe:BPE",
    "wordpiece": "nlpkit.tokenizers.wordpiece:WordPiece",
    "unigram": "nlpkit.tokenizers.unigram:Unigram",
    "word": "nlpkit.tokenizers.word:Word",
    "char": "nlpkit.tokenizers.char:Character",
}
# Those that are not trained here, only imported.
IMPORTED = {"pipeline": "nlpkit.tokenizers.pipeline:Pipeline"}


def from_json(value: Mapping[str, Any], *, where: Path | None = None) -> Tokenizer:
    """The tokenizer that a file's metadata describes. Errors: an unknown kind, fields that describe none; they name the
    file ``where`` it stands."""
    from nlpkit.tokenizers import described

    try:
        module, name = choose(KINDS | IMPORTED, str(value.get("kind")), field="tokenizer kind").split(":")
        value = dict(described.check(value))
        finds_special = value.pop("finds_special", None) is True
        tokenizer: Tokenizer = getattr(import_module(module), name).from_json(value)
    except UserError as error:
        raise UserError(error.what, where=where or error.where, hint=error.hint) from None
    except KeyError as missing:
        raise UserError(f"does not describe a tokenizer: it has no {missing}", where=where) from None
    if finds_special:
        from nlpkit.tokenizers.special import FindsSpecial

        return FindsSpecial(tokenizer)
    return tokenizer


def load(path: Path | str) -> Tokenizer:
    """The tokenizer of a file: a tokenizer, or any file that carries one (tokens, a model). Errors: a file without
    one."""
    path = Path(path)
    from nlpkit.artifact import file

    artifact = file.read(path, wanted="tokenizer")
    if artifact.tokenizer is None:
        raise UserError(f"is a {artifact.kind} file without a tokenizer", where=path, hint=file.made_by(("tokenizer",)))
    return from_json(artifact.tokenizer, where=path)
