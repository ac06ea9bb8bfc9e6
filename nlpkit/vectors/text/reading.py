"""A corpus as the training of vectors reads it: a vocabulary, and the ids of the words sentence by sentence.

The corpus is text, split into words or into the pieces of a tokenizer, or token files, whose ids are memory-mapped.
The sentences of a token file are those of the text it was made from, so that both give the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact.provenance import Run
from nlpkit.base.errors import UserError, refuse
from nlpkit.base.parallel import in_threads
from nlpkit.base.world import default_threads
from nlpkit.data.texts import Texts
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.vectors.base import Corpus
from nlpkit.vectors.text import phrases
from nlpkit.vectors.text.counting import Split, Spool, Vocabulary, choose_words, count, only, parts, rewritten
from nlpkit.vectors.text.words import Pieces, Words, ordinary

_SENTENCES = 1 << 16  # sentences of a token file whose ends are read together


@dataclass(frozen=True)
class Reading:
    """A corpus that was read: ``text`` is None in a dry run, ``tokenizer`` None for words. ``config`` is recorded in
    the result: the words and the options that chose them. ``joined``: the pairs of words that each pass joined."""

    vocabulary: Vocabulary
    text: Corpus | None
    tokenizer: Tokenizer | None
    config: dict[str, Any]
    joined: list[list[tuple[str, str]]]

    @property
    def tokenizer_json(self) -> dict[str, Any] | None:
        return None if self.tokenizer is None else self.tokenizer.to_json()


def read(run: Run, tokenizer: Tokenizer | None, *, threads: int | None, dry_run: bool) -> Reading:
    """Read the corpus of a run by its options. ``tokenizer`` is the run's input of this name, opened.

    ``lowercase``, ``strip_accents``, the ``tokenizer``, ``field``, ``format`` and ``on_error`` define the words of
    text; token files hold ids already. ``phrases`` is the number of passes that join pairs of words (None: 0) whose
    score is above ``phrase_threshold`` (None: 100), with ``min_count`` as the discount (`nlpkit.vectors.text.phrases`).
    Then ``min_count`` and ``vocab_size`` choose the words. Errors: UserError for an option that changes nothing, text
    beside token files, token files of several tokenizers, and too few frequent words.
    """
    options = run.options
    passes, threshold = options["phrases"], options["phrase_threshold"]
    if passes is None:
        refuse({"phrase_threshold": threshold}, "no phrases are joined", hint="--phrases 1 joins them")
    threshold = phrases.THRESHOLD if threshold is None else threshold
    tokens = [_is_artefact(path) for path in run.paths("corpus")]
    if any(tokens) and not all(tokens):
        text_file, token_file = (run.paths("corpus")[tokens.index(kind)] for kind in (False, True))
        raise UserError(
            f"is a token file, and {text_file.name} is text",
            where=token_file,
            hint="give text only, or token files only",
        )
    spooled = not dry_run or passes is not None
    numbered = _tokens(run, "corpus") if all(tokens) else _text(run, tokenizer, "corpus", threads, spooled=spooled)
    source, names, counts = numbered.source, numbered.names, numbered.counts
    joined: list[list[tuple[str, str]]] = []
    for _ in range(passes or 0):
        source, names, counts, pairs = phrases.join(
            source, names, counts, discount=options["min_count"], threshold=threshold, target=run.output
        )
        joined.append(pairs)
    vocabulary, final = choose_words(names, counts, min_count=options["min_count"], vocab_size=options["vocab_size"])
    text = None if dry_run else rewritten(source.blocks(), final, run.output)
    source.close()
    config = {
        "min_count": options["min_count"],
        "lowercase": numbered.lowercase,
        "words": vocabulary.words,
        "strip_accents": None if numbered.lowercase is None else bool(options["strip_accents"]),
    }
    if passes is not None:
        config |= {"phrases": passes, "phrase_threshold": threshold}
    return Reading(vocabulary, text, numbered.tokenizer, config, joined)


def held_out(run: Run, tokenizer: Tokenizer | None, reading: Reading) -> Corpus | None:
    """The text of the input ``dev`` in the vocabulary of ``reading``, the corpus; None when the run has no such input.

    Its phrases are those of the corpus. Errors: UserError for text beside a corpus of token files or the other way
    round, for another tokenizer, and for text without two known words.
    """
    paths = run.paths("dev")
    if not paths:
        return None
    tokens = _is_artefact(run.paths("corpus")[0])
    for path in paths:
        if _is_artefact(path) != tokens:
            raise UserError("differs in kind from the corpus: one is text, the other a token file", where=path)
    dev = _tokens(run, "dev") if tokens else _text(run, tokenizer, "dev", 1, spooled=True)
    if dev.tokenizer is not None and dev.tokenizer.to_json() != reading.tokenizer_json:
        raise UserError("has another tokenizer than the corpus", where=paths[0])
    source, names = dev.source, dev.names
    for pairs in reading.joined:
        source, names, _, _ = phrases.again(source, names, pairs, run.output)
    numbers = {word: number for number, word in enumerate(reading.vocabulary.words)}
    final = np.array([numbers.get(name, -1) for name in names], np.int32)
    text = rewritten(source.blocks(), final, run.output)
    source.close()
    if text.words < 2:
        raise UserError(f"{text.words} of its words are in the vocabulary; at least 2 are needed", where=paths[0])
    return text


@dataclass(frozen=True)
class _Numbered:
    """A corpus in which every word has a number: the source of its sentences, the names of the words, their counts."""

    source: phrases.Source
    names: Sequence[str]
    counts: NDArray[np.int64]
    tokenizer: Tokenizer | None
    lowercase: bool | None


def _text(run: Run, tokenizer: Tokenizer | None, role: str, threads: int | None, *, spooled: bool) -> _Numbered:
    options = run.options
    if tokenizer is not None:
        options_of_text = {name: options[name] for name in ("lowercase", "strip_accents")}
        refuse(options_of_text, "the tokenizer decides about case and accents")
    lower = options["lowercase"] is not False
    split = (
        Words(lowercase=lower, strip_accents=bool(options["strip_accents"])) if tokenizer is None else Pieces(tokenizer)
    )
    texts = Texts(run.paths(role), options["field"], options["on_error"], format=options["format"])
    lines = (text for text, _ in texts.lines())
    if isinstance(split, Words) and (threads or default_threads()) > 1:
        blocks = in_threads(split.apart, lines, threads=threads)
    else:
        blocks = map(split, lines)
    spool = Spool(run.output)
    counts = count(blocks, spool if spooled else None, f"reading {role}")
    return _Numbered(spool, split.names, counts, tokenizer, lower if tokenizer is None else None)


def _tokens(run: Run, role: str) -> _Numbered:
    options = run.options
    options_of_text = {
        "lowercase": options["lowercase"],
        "strip_accents": options["strip_accents"],
        "tokenizer": run.path("tokenizer"),
        "field": None if options["field"] == "text" else options["field"],
        "on_error": None if options["on_error"] == "error" else options["on_error"],
        "format": options["format"],
    }
    refuse(options_of_text, "the corpus is token files, in which the text is tokens already")
    source = TokenSource(TokenFiles.open(run.paths(role)))
    counts = count(source.blocks(), None, f"reading {role}")
    return _Numbered(source, source.files.tokenizer.pieces, counts, source.files.tokenizer, None)


class TokenSource:
    """The sentences of token files, without the special pieces and the line ends between them: in text a
    sentence has no white space at its ends either."""

    def __init__(self, files: TokenFiles) -> None:
        self.files = files
        self._ordinary = ordinary(files.tokenizer)
        self._line_end = files.tokenizer.line_end

    def blocks(self) -> Iterator[Split]:
        """The sentences, in blocks."""
        start = 0
        for first in range(0, self.files.n_sentences, _SENTENCES):
            ends = self.files.sentence_ends[first : first + _SENTENCES]
            for lengths in parts(np.diff(ends, prepend=start)):
                stop = start + int(lengths.sum())
                ids = self.files.tokens(start, stop).astype(np.int32)
                mask = self._ordinary[ids]
                if len(self._line_end):
                    last = (np.cumsum(lengths) - 1)[lengths > 0]
                    mask[last] &= ids[last] != self._line_end[-1]
                yield only(ids, lengths, mask)
                start = stop

    def close(self) -> None:
        """Nothing to close: token files are memory-mapped."""


def _is_artefact(path: Path) -> bool:
    """Whether a file begins like safetensors: eight bytes of a length, then JSON. No text has a NUL byte."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError:  # reading it raises the error
        return False
    return start[5:] == b"\0\0\0{"
