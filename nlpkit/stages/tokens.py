"""nlpkit tokens: tokenise a corpus into a token file.

Documents are tokenised on all cores and written in their order, so the bytes do not depend on the number of
cores. Memory does not grow with the corpus: ids and ends go to temporary files, which become the tensors. Compiled code
gives the same ids as Python many times as fast; a small corpus is done before it would be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import file
from nlpkit.artifact.atomic import spool
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.safetensors import FileTensor
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.parallel import in_order, in_threads
from nlpkit.data import texts
from nlpkit.data.corpus import Document, need_text
from nlpkit.data.texts import Texts, document_ends, parse_shard
from nlpkit.exchange.tokenizer_opening import load_tokenizer
from nlpkit.stages import defaults
from nlpkit.tokenizers import fast, from_json
from nlpkit.tokenizers.base import Tokenizer

LOAD = 1 << 18  # bytes of a corpus for which loading compiled code pays, some 50 ms
LENGTHS = (defaults.MAX_LEN, defaults.LONG)  # of the sequences that pretrain reads where no --max-len is given
WORTH = 0.01  # of the documents: so many longer ones are said
COMPILE = 1 << 22  # bytes of a corpus for which compiling it pays, some seconds, once


@stage
def tokens(
    corpus: Sequence[Path],
    output: Path,
    *,
    tokenizer: Path,
    field: str = "text",
    on_error: str = "error",
    format: str | None = None,
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
    loaded = load_tokenizer(run.paths("tokenizer")[0])
    if dry_run:
        return run.plan(vocab_size=loaded.vocab_size, bytes=sum(path.stat().st_size for path in run.paths("corpus")))
    width = np.dtype("<u2") if loaded.vocab_size <= 1 << 16 else np.dtype("<u4")
    with events.log_to(log), spool(run.output) as column:
        paths = run.paths("corpus")
        source = Texts(paths, field, on_error, part, format)
        line_end = loaded.line_end if loaded.lines_apart else np.zeros(0)  # otherwise it is among the ids of the text
        encoded = _encoded(source, loaded, width, threads, _size(paths))
        totals = _spool(encoded, line_end.astype(width), column)
        say_lengths(totals)
        need_text(totals.sentences, [Path(path) for path in corpus])
        tensors = {
            "tokens": FileTensor(column("tokens"), width, (totals.tokens,)),
            "sentence_ends": FileTensor(column("sentence_ends"), np.dtype("<i8"), (totals.sentences,)),
            "document_ends": FileTensor(column("document_ends"), np.dtype("<i8"), (totals.documents,)),
        }
        config = {"vocab_size": loaded.vocab_size, **totals.to_json()}
        summary = run.write(tensors, kind="tokens", config=config, tokenizer=loaded.to_json())
        return {**summary, **totals.to_json()}


@dataclass
class Totals:
    """Counts of a token file. ``bytes`` are the UTF-8 bytes of the documents, the line ends between their sentences
    among them; ``words`` are white-space words; ``long`` and ``longest`` are of documents, and said but not written."""

    tokens: int = 0
    sentences: int = 0
    documents: int = 0
    bytes: int = 0
    words: int = 0
    long: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(LENGTHS), np.int64))
    longest: int = 0

    def to_json(self) -> dict[str, int]:
        counts = ("tokens", "sentences", "documents", "bytes", "words")
        return {f"n_{name}": getattr(self, name) for name in counts}


def say_lengths(totals: Totals) -> None:
    """How many documents are longer than the sequences that models usually read; nothing where few are."""
    if totals.documents and totals.long[0] >= WORTH * totals.documents:
        over, far = (f"{count:,}" for count in totals.long)
        text = f"{over} of {totals.documents:,} documents are longer than {LENGTHS[0]} tokens, {far} than {LENGTHS[1]}"
        events.note(f"{text}; the longest has {totals.longest:,} (pretrain --max-len)")


@dataclass
class Encoded:
    """A worker's result for a batch: ids, each sentence's length, and the number of sentences at the end of each
    document (the first end may repeat one of the batch before). A sentence that another of its document follows ends
    with the line end, but for the batch's last sentence: what follows it is in the next batch."""

    ids: bytes
    sentences: NDArray[np.int64]
    ends: NDArray[np.int64]
    bytes: int
    words: int


Ids = NDArray[np.int32]
_worker: dict[str, Any] = {}


def _prepare(tokenizer: Mapping[str, Any] | Tokenizer, width: str) -> None:
    _worker["tokenizer"] = tokenizer if isinstance(tokenizer, Tokenizer) else from_json(tokenizer)
    _worker["width"] = np.dtype(width)


def _encode(batch: list[Document]) -> Encoded:
    if not _worker["tokenizer"].lines_apart:
        return _encode_whole(batch)
    sentences = [sentence for document in batch for sentence in document.sentences]
    ids = _worker["tokenizer"].encode_batch(sentences)
    return _with_line_ends(
        np.concatenate(ids) if ids else np.zeros(0, np.int32),
        np.array([len(item) for item in ids], np.int64),
        document_ends(batch),
        _worker["tokenizer"].line_end,
        _worker["width"],
        n_bytes=sum(len(sentence) if sentence.isascii() else len(sentence.encode()) for sentence in sentences),
        n_words=sum(len(sentence.split()) for sentence in sentences),
    )


def _encode_whole(batch: list[Document]) -> Encoded:
    """Documents encoded as a whole: a token belongs to the sentence in which, or behind which, it begins."""
    texts = [document.text + ("" if document.ends else "\n") for document in batch]
    ids: list[Ids] = [np.zeros(0, np.int32)]
    lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    encoded = _worker["tokenizer"].encode_with_offsets(texts)
    for document, (document_ids, offsets) in zip(batch, encoded, strict=True):
        begins = np.maximum.accumulate(offsets[:, 0])
        starts = np.cumsum([0, *(len(sentence) + 1 for sentence in document.sentences)])
        ids.append(document_ids)
        lengths.append(np.diff(np.searchsorted(begins, [*starts[:-1], starts[-1] + 1])))
    n_bytes = sum(len(document.text.encode()) for document in batch)
    n_bytes += sum(not document.ends for document in batch[:-1])  # `_spool` counts the line end after the last
    n_words = sum(len(sentence.split()) for document in batch for sentence in document.sentences)
    whole = np.concatenate(ids).astype(_worker["width"])
    return Encoded(whole.tobytes(), np.concatenate(lengths), document_ends(batch), n_bytes, n_words)


def _with_line_ends(
    ids: Ids,
    lengths: NDArray[np.int64],
    ends: NDArray[np.int64],
    line_end: Ids,
    width: np.dtype[Any],
    *,
    n_bytes: int,
    n_words: int,
) -> Encoded:
    """The ids of a batch's sentences with those of the line ends between the sentences of a document."""
    followed = np.ones(len(lengths), np.bool_)
    followed[ends[ends > 0] - 1] = False
    followed[-1:] = False
    if len(line_end):
        at = np.cumsum(lengths)[followed]
        ids = np.insert(ids, np.repeat(at, len(line_end)), np.tile(line_end, len(at)))
    lengths = lengths + followed * len(line_end)
    return Encoded(ids.astype(width).tobytes(), lengths, ends, n_bytes + int(followed.sum()), n_words)


def _encoded(
    source: Texts, tokenizer: Tokenizer, width: np.dtype[Any], threads: int | None, size: int | None
) -> Iterator[Encoded]:
    """The batches of a corpus, tokenised, in order. ``size`` is the corpus' bytes, as far as they are known."""
    workers = 1 if size is not None and size < 4 * texts.BATCH else threads  # starting workers takes longer than this
    plan = tokenizer.plan() if size is None or size >= LOAD else None
    if plan is not None and fast.usable(compile=size is None or size >= COMPILE):

        def prepare() -> Callable[[tuple[bytes, NDArray[np.int64] | None]], Encoded]:
            encoder = fast.Encoder(plan)

            def encode(item: tuple[bytes, NDArray[np.int64] | None]) -> Encoded:
                text, ends = item
                lines = encoder.encode(text)
                ends = lines.documents if ends is None else ends
                return _with_line_ends(
                    lines.ids, lines.lengths, ends, tokenizer.line_end, width, n_bytes=lines.bytes, n_words=lines.words
                )

            return encode

        yield from in_threads(prepare, source.lines(), threads=workers)
    else:
        arguments = (tokenizer if workers == 1 else tokenizer.to_json(), width.str)
        yield from in_order(_encode, source.batches(), threads=workers, prepare=_prepare, arguments=arguments)


def _spool(batches: Iterator[Encoded], line_end: NDArray[Any], column: Callable[[str], BinaryIO]) -> Totals:
    """Append tokenised batches to the files of the columns, with a line end between two batches that share a
    document."""
    totals, ended = Totals(), 0
    end = 0  # of the last document, in tokens

    def write_ends(ends: NDArray[np.int64]) -> None:
        column("sentence_ends").write(ends.astype("<i8").tobytes())

    for encoded in batches:
        if totals.sentences and len(encoded.sentences):  # end the last sentence of the batch before
            if ended < totals.sentences and 0 not in encoded.ends[:1]:
                column("tokens").write(line_end.tobytes())
                totals.tokens += len(line_end)
                totals.bytes += 1
            write_ends(np.array([totals.tokens]))
        column("tokens").write(encoded.ids)
        write_ends(totals.tokens + np.cumsum(encoded.sentences)[:-1])
        document_ends = totals.sentences + encoded.ends
        sentence_ends = np.concatenate([[0], np.cumsum(encoded.sentences)])
        token_ends = totals.tokens + sentence_ends[encoded.ends][document_ends > ended]
        lengths = np.diff(token_ends, prepend=end)
        totals.long += [int((lengths > length).sum()) for length in LENGTHS]
        totals.longest = int(lengths.max(initial=totals.longest))
        end = int(token_ends[-1]) if len(token_ends) else end
        document_ends = document_ends[document_ends > ended]
        column("document_ends").write(document_ends.astype("<i8").tobytes())
        ended = int(document_ends[-1]) if len(document_ends) else ended
        totals.sentences += len(encoded.sentences)
        totals.documents += len(document_ends)
        totals.tokens += int(encoded.sentences.sum())
        totals.bytes += encoded.bytes
        totals.words += encoded.words
        events.emit("progress", label="tokens", done=totals.tokens, total=None, unit="")
    if totals.sentences:
        write_ends(np.array([totals.tokens]))
    return totals


def _size(paths: Sequence[Path]) -> int | None:
    """Bytes of the corpus, None when files are compressed, so that it is unknown."""
    if any(path.suffix.lower() in (".gz", ".zst", ".parquet") for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def describe(path: Path) -> dict[str, Any]:
    """The counts of a token file."""
    return file.read(path, kind="tokens").config
