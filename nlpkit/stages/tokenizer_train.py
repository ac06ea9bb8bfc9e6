"""nlpkit tokenizer train: train a tokenizer on a corpus, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.data.corpus import documents
from nlpkit.tokenizers import unigram as unigrams
from nlpkit.tokenizers import unigram_train
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.bpe import BPE, END
from nlpkit.tokenizers.bpe_train import Joining, alphabet, learn_merges
from nlpkit.tokenizers.char import Character, most_frequent
from nlpkit.tokenizers.counts import Split, count_words
from nlpkit.tokenizers.pretokenize import BYTE_LETTERS, gpt2_words, to_letters, words_by
from nlpkit.tokenizers.steps import chain
from nlpkit.tokenizers.word import Word
from nlpkit.tokenizers.wordpiece import CONTINUATION, WordPiece
from nlpkit.tokenizers.wordpiece_train import SCORES, learn_pieces

Counts = Mapping[str, int]
_SPECIAL = list(dict.fromkeys(DEFAULT_SPECIAL.values()))


@dataclass(frozen=True)
class Options:
    """The options of the command that the trainers read."""

    vocab_size: int
    min_count: int
    lowercase: bool
    byte_level: bool
    score: str
    strip_accents: bool = False

    @property
    def steps(self) -> list[str]:
        """The normalisation of the kinds that record theirs."""
        accents = ["nfkd", "strip_accents", "nfc"] if self.strip_accents else ["nfkc"]
        return [*accents, "lowercase"] if self.lowercase else accents


@dataclass(frozen=True)
class Trainer:
    """How a kind splits text into words, how it is fitted to their counts, and which of the command's options it reads
    besides those that every kind reads."""

    split: Callable[[Options], Split]
    fit: Callable[[Counts, Options], Tokenizer]
    reads: tuple[str, ...] = ("min_count",)


@stage
def train(
    corpus: Sequence[Path],
    output: Path,
    *,
    kind: str = "bpe",
    vocab_size: int = 8000,
    min_count: int | None = None,
    lowercase: bool | None = None,
    strip_accents: bool = False,
    byte_level: bool | None = None,
    score: str | None = None,
    field: str = "text",
    on_error: str = "error",
    format: str | None = None,
    threads: int | None = None,
    log: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Train a tokenizer; returns the summary of the file.

    ``lowercase`` None means the kind's default: WordPiece and word lower-case, the others keep the text.
    ``strip_accents`` drops Unicode's non-spacing marks, as BERT's uncased models do: accents, and the signs of vowels
    of Indic scripts. ``byte_level`` is for bpe: bytes by GPT-2's rule (None), or characters by BERT's. ``score`` is for
    wordpiece: likelihood (None), ratio or frequency. ``min_count``: how often a pair (bpe, wordpiece), word or
    character must occur to become a piece (None: twice). Errors: UserError for wrong options, among them one that the
    kind does not read, an empty corpus, a vocabulary too small for its special pieces.
    """
    corpus = [corpus] if isinstance(corpus, (str, Path)) else list(corpus)
    run = Run.start("tokenizer train", locals(), inputs=("corpus",))
    trainer = choose(TRAINERS, kind, field="kind")
    particular = {"min_count": min_count, "byte_level": byte_level, "score": score}
    refuse(
        {name: value for name, value in particular.items() if name not in trainer.reads},
        f"kind {kind} does not read it",
    )
    score = choose({name: name for name in (*SCORES, "frequency")}, score or "likelihood", field="score")
    if vocab_size <= len(_SPECIAL):
        raise UserError(f"vocab-size {vocab_size} leaves none beside the {len(_SPECIAL)} special pieces")
    lower = kind in ("wordpiece", "word") if lowercase is None else lowercase
    least, on_bytes = 2 if min_count is None else min_count, byte_level is not False
    options = Options(vocab_size, least, lower, on_bytes, score, strip_accents)
    if dry_run:
        return run.plan(special=_SPECIAL)
    with events.log_to(log):
        texts = _texts(run.paths("corpus"), field, on_error, format)
        counts = count_words(texts, trainer.split(options), threads=threads)
        if not counts:
            raise UserError("the corpus holds no words", where=str(corpus[0]))
        tokenizer = trainer.fit(counts, options)
        if tokenizer.vocab_size < vocab_size:
            events.note(f"the corpus gives {tokenizer.vocab_size:,} pieces, {vocab_size:,} were requested")
        config = {"kind": kind, "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
        return run.write({}, kind="tokenizer", config=config, tokenizer=tokenizer.to_json())


def _texts(paths: Sequence[Path], field: str, on_error: str, format: str | None) -> Iterator[str]:
    """Lines of documents, with their line end where another line follows: it is a character of the text too."""
    for document in documents(paths, field=field, on_error=on_error, format=format):
        *lines, last = document.sentences
        yield from (f"{line}\n" for line in lines)
        yield last if document.ends else f"{last}\n"


def _basic(options: Options) -> Split:
    return words_by(lower=options.lowercase, strip=options.strip_accents)


def _bpe_split(options: Options) -> Split:
    if options.byte_level and (options.lowercase or options.strip_accents):
        flag = "lowercase" if options.lowercase else "strip-accents"
        raise UserError(f"--{flag} needs --no-byte-level: a byte-level tokenizer keeps its text exactly")
    return gpt2_words if options.byte_level else _basic(options)


def _fit_bpe(counts: Counts, options: Options) -> Tokenizer:
    if options.byte_level:
        spelled = {tuple(to_letters(word)): count for word, count in counts.items()}
        letters: Sequence[str] = sorted(BYTE_LETTERS)  # all of them, so that every text can be encoded
        if options.vocab_size < len(_SPECIAL) + len(letters):
            raise UserError(f"vocab-size {options.vocab_size} is too small for 256 bytes and the special pieces")
    else:
        spelled = {(*word[:-1], word[-1] + END): count for word, count in counts.items()}
        letters = alphabet(spelled, options.vocab_size - len(_SPECIAL))
        spelled = _within(spelled, letters)
    pieces = [*_SPECIAL, *letters]
    merges = learn_merges(spelled, pieces, options.vocab_size, min_count=options.min_count, join=Joining())
    return BPE(pieces, DEFAULT_SPECIAL, merges, options.byte_level, options.lowercase, options.strip_accents)


def _fit_wordpiece(counts: Counts, options: Options) -> Tokenizer:
    spelled = {(word[0], *(CONTINUATION + letter for letter in word[1:])): count for word, count in counts.items()}
    letters = alphabet(spelled, options.vocab_size - len(_SPECIAL))
    spelled = _within(spelled, letters)
    pieces, join, size = [*_SPECIAL, *letters], Joining(CONTINUATION), options.vocab_size
    if options.score == "frequency":
        learn_merges(spelled, pieces, size, min_count=options.min_count, join=join)
    else:
        learn_pieces(spelled, pieces, size, min_count=options.min_count, score=options.score, join=join)
    return WordPiece(pieces, DEFAULT_SPECIAL, options.lowercase, options.strip_accents)


def _within(spelled: dict[tuple[str, ...], int], letters: Sequence[str]) -> dict[tuple[str, ...], int]:
    """The words that consist of these letters."""
    known = set(letters)
    return {word: count for word, count in spelled.items() if known.issuperset(word)}


def _fit_unigram(counts: Counts, options: Options) -> Tokenizer:
    return unigram_train.train(counts, options.vocab_size, DEFAULT_SPECIAL, options.steps)


def _fit_word(counts: Counts, options: Options) -> Tokenizer:
    words = _frequent(counts, options)
    return Word([*_SPECIAL, *words], DEFAULT_SPECIAL, options.lowercase, options.strip_accents)


def _fit_char(counts: Counts, options: Options) -> Tokenizer:
    return Character([*_SPECIAL, *_frequent(counts, options)], DEFAULT_SPECIAL, options.steps)


def _frequent(counts: Counts, options: Options) -> list[str]:
    enough = {text: count for text, count in counts.items() if count >= options.min_count and text not in _SPECIAL}
    return most_frequent(enough, options.vocab_size - len(_SPECIAL))


def _normalized(split: Callable[[str], list[str]], steps: list[str], text: str) -> list[str]:
    return split(chain(steps)(text))


TRAINERS: dict[str, Trainer] = {
    "bpe": Trainer(_bpe_split, _fit_bpe, ("min_count", "byte_level")),
    "wordpiece": Trainer(_basic, _fit_wordpiece, ("min_count", "score")),
    "unigram": Trainer(lambda options: partial(_normalized, unigrams.words, options.steps), _fit_unigram, ()),
    "word": Trainer(_basic, _fit_word),
    "char": Trainer(lambda options: partial(_normalized, list, options.steps), _fit_char),
}
