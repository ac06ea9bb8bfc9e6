"""nlpkit tokens: a corpus and a tokenizer make a token file.

Documents are tokenised on all cores and written in their order, so the bytes do not depend on how many there were.
Nothing is held that grows with the corpus: ids and ends go to files beside the target, which become its tensors.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nlpkit import events
from nlpkit.artifact import atomic, file
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.safetensors import FileTensor
from nlpkit.data.corpus import Document, documents, need_text
from nlpkit.errors import UserError
from nlpkit.parallel import in_order
from nlpkit.tokenizers import from_json, load
from nlpkit.tokenizers.base import Tokenizer

BATCH = 1 << 20  # characters a worker tokenises at a time
COLUMNS = {"tokens": None, "sentence_ends": np.dtype("<i8"), "document_ends": np.dtype("<i8")}


def tokens(
    corpus: Sequence[Path],
    output: Path,
    *,
    tokenizer: Path,
    field: str = "text",
    on_error: str = "error",
    shard: str | None = None,
    threads: int | None = None,
    log: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Tokenise a corpus; returns the summary of the file. The file holds no framing tokens.

    ``shard`` "3/16" takes every 16th document from the third on; sixteen shards together are the whole. Errors:
    UserError for a corpus without text, bad lines (``on_error``), a file without a tokenizer.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start("tokens", locals(), inputs=("corpus", "tokenizer"))
    part = parse_shard(shard)
    made = load(run.paths("tokenizer")[0])
    if dry_run:
        return run.plan(vocab_size=made.vocab_size, bytes=sum(path.stat().st_size for path in run.paths("corpus")))
    width = np.dtype("<u2") if made.vocab_size <= 1 << 16 else np.dtype("<u4")
    folder = run.output.with_name(f".{run.output.name}.spool")
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    try:
        folder.mkdir()
        with events.log_to(log):
            found = documents(run.paths("corpus"), field=field, on_error=on_error)
            totals = _spool(batches(share(found, part)), made, width, folder, threads, _size(run.paths("corpus")))
            need_text(totals.sentences, [Path(path) for path in corpus])
            tensors = {
                "tokens": FileTensor(folder / "tokens", width, (totals.tokens,)),
                "sentence_ends": FileTensor(folder / "sentence_ends", np.dtype("<i8"), (totals.sentences,)),
                "document_ends": FileTensor(folder / "document_ends", np.dtype("<i8"), (totals.documents,)),
            }
            config = {"vocab_size": made.vocab_size, **totals.to_json()}
            summary = run.write(tensors, kind="tokens", config=config, tokenizer=made.to_json())
            return {**summary, **totals.to_json()}
    except OSError as error:
        raise atomic.cannot_write(error, run.output) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Totals:
    """What was counted. ``bytes`` are the UTF-8 bytes of the sentences, ``words`` their white-space words."""

    tokens: int = 0
    sentences: int = 0
    documents: int = 0
    bytes: int = 0
    words: int = 0

    def to_json(self) -> dict[str, int]:
        return {f"n_{name}": value for name, value in vars(self).items()}


@dataclass
class Encoded:
    """What a worker gives back of a batch: ids, each sentence's length, and for each document part how many sentences
    it has and whether the document ends with it."""

    ids: bytes
    sentences: np.ndarray
    parts: list[tuple[int, bool]]
    bytes: int
    words: int = field(default=0)


_worker: dict[str, Any] = {}


def _prepare(tokenizer: Mapping[str, Any] | Tokenizer, width: str) -> None:
    _worker["tokenizer"] = tokenizer if isinstance(tokenizer, Tokenizer) else from_json(tokenizer)
    _worker["width"] = np.dtype(width)


def _encode(batch: list[Document]) -> Encoded:
    sentences = [sentence for document in batch for sentence in document.sentences]
    ids = _worker["tokenizer"].encode_batch(sentences)
    whole = np.concatenate(ids) if ids else np.zeros(0, np.int32)
    return Encoded(
        whole.astype(_worker["width"]).tobytes(),
        np.array([len(item) for item in ids], np.int64),
        [(len(document.sentences), document.ends) for document in batch],
        sum(len(sentence) if sentence.isascii() else len(sentence.encode()) for sentence in sentences),
        sum(len(sentence.split()) for sentence in sentences),
    )


def _spool(
    found: Iterator[list[Document]],
    tokenizer: Tokenizer,
    width: np.dtype[Any],
    folder: Path,
    threads: int | None,
    size: int | None,
) -> Totals:
    """Tokenise batches in order and append what they give to the files of the folder."""
    totals = Totals()
    workers = 1 if size is not None and size < 4 * BATCH else threads  # a small corpus is done before workers start
    arguments = (tokenizer if workers == 1 else tokenizer.to_json(), width.str)
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {name: stack.enter_context(open(folder / name, "wb")) for name in COLUMNS}
        for encoded in in_order(_encode, found, threads=workers, prepare=_prepare, arguments=arguments):
            files["tokens"].write(encoded.ids)
            ends = totals.tokens + np.cumsum(encoded.sentences)
            files["sentence_ends"].write(ends.astype("<i8").tobytes())
            document_ends = []
            for count, last in encoded.parts:
                totals.sentences += count
                if last:
                    document_ends.append(totals.sentences)
            files["document_ends"].write(np.array(document_ends, "<i8").tobytes())
            totals.documents += len(document_ends)
            totals.tokens += int(encoded.sentences.sum())
            totals.bytes += encoded.bytes
            totals.words += encoded.words
            events.emit("progress", label="tokens", done=totals.tokens, total=None, unit="")
    return totals


def batches(found: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about `BATCH` characters."""
    batch: list[Document] = []
    size = 0
    for document in found:
        batch.append(document)
        size += sum(map(len, document.sentences))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def parse_shard(text: str | None) -> tuple[int, int]:
    """The text 3/16 -> (2, 16); None is the whole, (0, 1). Errors: what is not a part of a whole."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", text)
    if not match or int(match[1]) > int(match[2]):
        raise UserError(f'shard "{text}" is not a part of a whole', hint="the third of sixteen is 3/16")
    return int(match[1]) - 1, int(match[2])


def share(found: Iterator[Document], part: tuple[int, int]) -> Iterator[Document]:
    """The documents of a shard: every n-th."""
    number = 0
    for document in found:
        if number % part[1] == part[0]:
            yield document
        number += document.ends


def _size(paths: Sequence[Path]) -> int | None:
    """Bytes of the corpus, None when they are packed and so unknown."""
    if any(path.suffix.lower() in (".gz", ".zst", ".parquet") for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def describe(path: Path) -> dict[str, Any]:
    """The counts of a token file."""
    return file.read(path, kind="tokens").config
