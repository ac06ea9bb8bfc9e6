"""Whatever a command names as MODEL or --tokenizer: a file of ours, or a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path

from nlpkit import tokenizers
from nlpkit.artifact import file
from nlpkit.base import contents
from nlpkit.base.errors import UserError
from nlpkit.models.load import Loaded, restore

_ROWS = [contents.NAMES[form] for form in ("jsonl", "csv", "tsv", "parquet")]


def load(path: str | Path) -> Loaded:
    """Open a model file or a Hugging Face directory. Errors: UserError naming the first thing that does not fit."""
    path = Path(path)
    if path.is_dir():
        from nlpkit.exchange.huggingface import read

        return read(path)
    if path.is_file() and (what := contents.describe(path)) in _ROWS:
        raise UserError(
            f"is {what}, expected a model file",
            where=path,
            hint=f"the model comes first, then the data; {file.made_by(['model'])}",
        )
    artifact = file.read(path, kind="model")
    network, family = restore(artifact.config, {name: artifact.array(name) for name in artifact.tensors}, where=path)
    tokenizer = None if artifact.tokenizer is None else tokenizers.from_json(artifact.tokenizer, where=path)
    if tokenizer is not None and tokenizer.vocab_size > network.config.vocab_size:
        raise UserError(
            f"tokenizer has {tokenizer.vocab_size:,} pieces, but the model {network.config.vocab_size:,}", where=path
        )
    return Loaded(network.eval(), tokenizer, family, artifact.config, path)
