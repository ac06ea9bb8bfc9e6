"""Sequences for pre-training, cut from token files.

Three kinds, which an objective chooses from: "blocks" (equal lengths from the running text, documents separated;
RoBERTa's full-sentences, GPT-2's stream), "sentences" (whole sentences of one document, RoBERTa's doc-sentences),
"pairs" (BERT's two segments). Liu et al. 2019, section 4.2 compares them.

Shapes: N tokens of a batch, B sequences, T tokens of one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import UserError, choose
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch
from nlpkit.data.framing import Framed, Framing, pack, truncate
from nlpkit.data.order import Epochs
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.layers.packing import Packing

Ids = NDArray[np.int64]


def blocks(files: TokenFiles, framing: Framing, *, max_len: int, batch_tokens: int, seed: int) -> Epochs:
    """Blocks of ``max_len`` tokens of the running text, ``framing.last`` after each document (and, for encoders, the
    framing around each block). The last block is shorter."""
    around = (len(framing.before), len(framing.after)) if framing.before else (0, 0)
    body = max_len - sum(around)
    documents = np.concatenate([[0], files.document_token_ends])
    n_documents = len(documents) - 1
    total = int(documents[-1]) + n_documents  # one separator a document
    stream_starts = documents[:-1] + np.arange(n_documents)
    count = -(-total // body)
    lengths = np.full(count, max_len, np.int64)
    lengths[-1] = total - (count - 1) * body + (max_len - body)
    if lengths[-1] < (max_len - body) + 2:  # a last block of one token has nothing to predict from
        lengths, count = lengths[:-1], count - 1
    if count == 0:
        raise UserError(f"the token file has {files.n_tokens} tokens, too few to train on", where=files.name)

    def make(examples: Ids, epoch: int) -> Batch:
        sizes = lengths[examples] - (max_len - body)
        example = np.repeat(np.arange(len(examples)), sizes)
        offset = np.arange(len(example)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        position = examples[example] * body + offset  # in the stream of text and separators
        document = np.searchsorted(stream_starts, position, side="right") - 1
        index = position - document
        separator = index == documents[document + 1]
        tokens = np.where(separator, framing.last, files.take(np.where(separator, 0, index)))
        if not framing.before:
            return _batch(tokens, lengths[examples], examples, separator, segments=framing.segments)
        full = lengths[examples]
        inside = np.arange(full.sum()) - np.repeat(np.cumsum(full) - full, full)  # its offset in its sequence
        text = (inside >= around[0]) & (inside < np.repeat(full - around[1], full))
        framed, special = np.empty(len(text), np.int64), np.ones(len(text), bool)
        framed[text], special[text] = tokens, separator
        framed[~text] = np.tile([*framing.before, *framing.after], len(full))
        return _batch(framed, full, examples, special, segments=framing.segments)

    return Epochs(lengths, make, batch_tokens=batch_tokens, seed=seed)


def _batch(tokens: Ids, lengths: Ids, examples: Ids, special: NDArray[np.bool_], *, segments: bool) -> Batch:
    return Batch(
        tokens=torch.from_numpy(np.ascontiguousarray(tokens, np.int64)),
        packing=Packing.of(lengths.tolist()),
        examples=torch.from_numpy(np.ascontiguousarray(examples, np.int64)),
        special=torch.from_numpy(special),
        segments=torch.zeros(len(tokens), dtype=torch.int64) if segments else None,
    )


def chunk(files: TokenFiles, max_tokens: int) -> tuple[Ids, Ids]:
    """Cut every document into runs of whole sentences of at most ``max_tokens`` tokens; a longer sentence is cut.

    Returns the first and the last-plus-one token of each chunk.
    """
    ends = files.sentence_ends
    last_of_document = np.repeat(files.document_token_ends, np.diff(files.document_ends, prepend=0))
    starts: list[int] = []
    stops: list[int] = []
    token, sentence = 0, 0
    while sentence < len(ends):
        limit = min(token + max_tokens, int(last_of_document[sentence]))
        reached = int(np.searchsorted(ends, limit, side="right"))  # sentences that end within the limit
        stop = int(ends[reached - 1]) if reached > sentence and ends[reached - 1] > token else limit
        if stop > token:
            starts.append(token)
            stops.append(stop)
        token = stop
        sentence = max(sentence, reached)
    return np.array(starts, np.int64), np.array(stops, np.int64)


def sentences(files: TokenFiles, framing: Framing, *, max_len: int, batch_tokens: int, seed: int) -> Epochs:
    """Whole sentences of one document in each sequence."""
    starts, stops = chunk(files, max_len - framing.extra())
    _some(starts, files)

    def make(examples: Ids, epoch: int) -> Batch:
        framed = [framing.frame([files.tokens(int(starts[i]), int(stops[i]))]) for i in examples]
        return pack(framed, examples, segments=framing.segments)

    return Epochs(stops - starts + framing.extra(), make, batch_tokens=batch_tokens, seed=seed)


def pairs(files: TokenFiles, framing: Framing, *, max_len: int, batch_tokens: int, seed: int) -> Epochs:
    """Two segments, A and B; half of the time B is from another document (label 1).

    As in BERT's create_pretraining_data: a chunk is cut at a random sentence end; a chunk of one sentence always gets
    a random B; one pair in ten is shortened to a random length. Deviations: a random B is as long as the text it
    replaces (after a single sentence: as long as that), where theirs fills the sequence, so that the length does not
    give the label away and no batch is larger than planned; the sentences that a random B replaces are not read again
    in the same epoch, and the next epoch cuts anew.
    """
    max_tokens = max_len - framing.extra(2)
    starts, stops = chunk(files, max_tokens)
    _some(starts, files)
    if files.n_documents < 2:
        raise UserError(
            "next-sentence prediction needs at least two documents, the token file has one",
            where=files.name,
            hint="separate documents with an empty line, or train with --objective mlm",
        )
    ends = files.sentence_ends
    document_ends = files.document_token_ends
    single = np.searchsorted(ends, starts, side="right") == np.searchsorted(ends, stops, side="left")
    if single.mean() > 0.1:
        events.note(
            f"{single.mean():.0%} of the pairs begin with a document's only sentence, or one that fills the "
            "sequence, and are never true"
        )

    def make(examples: Ids, epoch: int) -> Batch:
        framed: list[Framed] = []
        labels: list[int] = []
        for example in examples:
            rng = Address(seed, ("pairs", epoch, int(example))).generator()
            start, stop = int(starts[example]), int(stops[example])
            low, high = np.searchsorted(ends, start, side="right"), np.searchsorted(ends, stop, side="left")
            inner = ends[low:high]  # sentence ends strictly inside the chunk
            cut = int(inner[rng.integers(len(inner))]) if len(inner) else stop
            target = int(rng.integers(2, max_tokens + 1)) if rng.random() < 0.1 else max_tokens
            follows = bool(len(inner)) and bool(rng.random() < 0.5)
            first = files.tokens(start, cut)
            if follows:
                second = files.tokens(cut, stop)
            else:
                wanted = stop - cut if cut < stop else min(len(first), max_tokens - len(first))
                second = _from_another_document(files, document_ends, start, max(1, wanted), rng)
            framed.append(framing.frame(truncate([first, second], target)))
            labels.append(0 if follows else 1)
        order = np.argsort([-len(item.tokens) for item in framed], kind="stable")  # few runs of equal length
        return pack(
            [framed[i] for i in order],
            examples[order],
            segments=framing.segments,
            labels={"nsp": torch.tensor([labels[i] for i in order])},
        )

    sizes = np.where(single, np.minimum(2 * (stops - starts), max_tokens), stops - starts)
    return Epochs(sizes + framing.extra(2), make, batch_tokens=batch_tokens, seed=seed)


def _from_another_document(
    files: TokenFiles, document_ends: Ids, start: int, length: int, rng: np.random.Generator
) -> Ids:
    """Up to ``length`` tokens from a random sentence of a random other document."""
    document = int(np.searchsorted(document_ends, start, side="right"))
    other = int(rng.integers(files.n_documents - 1))
    other += other >= document
    first = int(files.document_ends[other - 1]) if other else 0
    last = int(files.document_ends[other])
    sentence = int(rng.integers(first, last)) if last > first else first
    begin = int(files.sentence_ends[sentence - 1]) if sentence else 0
    return files.tokens(begin, min(begin + length, int(document_ends[other])))


def say_long(how: str, files: TokenFiles, framing: Framing, max_len: int, *, most: int) -> None:
    """Say how many documents (of ``blocks``) or sentences (of the others, which cut between sentences) are longer than
    a sequence, and how many a ``most`` as --max-len has whole; nothing where none is."""
    noun, ends = ("document", files.document_token_ends) if how == "blocks" else ("sentence", files.sentence_ends)
    lengths = np.diff(ends, prepend=0) + framing.extra()
    longer = int((lengths > max_len).sum())
    if not longer:
        return
    text = f"{longer:,} of {len(lengths):,} {noun}s {'is' if longer == 1 else 'are'} longer than a sequence "
    text += f"(--max-len {max_len}) and {'is' if longer == 1 else 'are'} read in pieces; no token is left out"
    if (whole := longer - int((lengths > most).sum())) > len(lengths) / 20:
        text += f"; --max-len {most} has {whole:,} of them whole"
    events.note(text)


def _some(starts: Ids, files: TokenFiles) -> None:
    if not len(starts):
        raise UserError("the token file holds no tokens", where=files.name)


SOURCES: dict[str, Callable[..., Epochs]] = {"blocks": blocks, "sentences": sentences, "pairs": pairs}


def source(name: str, files: TokenFiles, framing: Framing, *, max_len: int, batch_tokens: int, seed: int) -> Epochs:
    """The sequences of an objective. Errors: lengths that are too short for text."""
    if max_len < framing.extra(2) + 2:
        raise UserError(f"max-len {max_len} is too short for text", hint=f"at least {framing.extra(2) + 2}")
    if batch_tokens < max_len:
        raise UserError(f"batch-tokens {batch_tokens} is less than max-len {max_len}")
    make = choose(SOURCES, name, field="source")
    return make(files, framing, max_len=max_len, batch_tokens=batch_tokens, seed=seed)
