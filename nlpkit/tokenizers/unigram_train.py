"""Training a Unigram model, the same every time (Kudo 2018, "Subword regularization", section 3.2).

Start from every frequent substring; then, in turns, fit the pieces' probabilities by EM and drop the pieces whose
removal costs the least likelihood, until the vocabulary has its size. Everything is numpy over the distinct segments of
the corpus and their counts, in one fixed order: threads, hash seeds and processes cannot change a byte.

Deviations from sentencepiece, whose recipe this is: a substring counts as often as its words do (there, once a
distinct word); the loss of a piece weighs its own uses (there, the sentences that use it); losses are compared
in float32, ties are broken by text; scores lie on a grid (`GRID`).

Shapes: W segments, E edges, P pieces, C characters of all segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.tokenizers.lattice import Floats, Ints, Lattice, Texts
from nlpkit.tokenizers.unigram import SPACE, Unigram

_SEGMENT = regex.compile(r"▁?[\p{L}\p{M}]{1,256}|▁?\p{N}{1,256}|▁?[^\p{L}\p{M}\p{N}▁]{1,256}|▁")
MAX_PIECE = 16  # characters, as sentencepiece
MAX_SEEDS = 1_000_000
SHRINK = 0.75  # fraction of the pieces that a round of pruning keeps
EM_STEPS = 2  # a round
MARGIN = 1.1  # pruning stops this much above the final size; then the least probable go
RARE = 0.5  # expected uses below which a piece is dropped
GRID = 4096  # scores are multiples of 1/4096: exact in float32, and every sum of them exact in float64


def train(words: Mapping[str, int], size: int, special: dict[str, str], steps: Sequence[str] = ()) -> Unigram:
    """A tokenizer of at most ``size`` pieces, special ones included, from normalised words and their counts.

    ``steps`` are the normalisation that made the words. Characters fill at most half of the vocabulary, the most
    frequent first; the rarer become unknown, and a note says so.
    """
    reserved = list(dict.fromkeys(special.values()))
    ordinary = size - len(reserved)
    if ordinary < 2:
        raise UserError(
            f"a vocabulary of {size} is too small beside {len(reserved)} special pieces", where="vocab-size"
        )
    pieces, scores = fit(_known(segments(words), max(1, ordinary // 2)), ordinary)
    scored = [(piece, score) for piece, score in zip(pieces, scores, strict=True) if piece not in reserved]
    return Unigram(
        [*reserved, *(piece for piece, _ in scored)],
        [0.0] * len(reserved) + [score for _, score in scored],
        special,
        steps,
    )


def segments(words: Mapping[str, int]) -> dict[str, int]:
    """The parts of words that no piece shall cross, with their counts: letters, digits, others. The first part of a
    word begins with U+2581."""
    counts: dict[str, int] = {}
    for word, times in words.items():
        for part in _SEGMENT.findall(SPACE + word):
            counts[part] = counts.get(part, 0) + times
    return counts


def _known(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """The segments, cut at every character that is not among the ``most`` frequent."""
    characters: dict[str, int] = {}
    for text, times in counts.items():
        for character in text:
            characters[character] = characters.get(character, 0) + times
    if len(characters) <= most:
        return dict(counts)
    rare = sorted(characters, key=lambda character: (-characters[character], character))[most:]
    fraction = sum(characters[character] for character in rare) / sum(characters.values())
    events.note(
        f"{len(rare):,} rare characters ({fraction:.3%} of the text) are not in the vocabulary and become "
        "unknown; a larger --vocab-size holds more"
    )
    blank = dict.fromkeys(map(ord, rare), "\0")
    known: dict[str, int] = {}
    for text, times in counts.items():
        for part in text.translate(blank).split("\0"):
            if part:
                known[part] = known.get(part, 0) + times
    return known


def fit(counts: Mapping[str, int], size: int) -> tuple[list[str], list[float]]:
    """At most ``size`` pieces and their log-probabilities, most probable first, from segments and their counts.

    All characters of ``counts`` become pieces; ``size`` is at least their number. Fewer pieces come back when the
    segments have no more repeated substrings.
    """
    from scipy.special import digamma  # whoever trains another kind does not wait for it

    segments = sorted(counts, key=lambda text: (-len(text), text))
    texts, weight = Texts.of(segments), np.array([counts[text] for text in segments], np.float64)
    pieces, uses, fixed = seeds(segments, texts, weight)
    lattice, scores = Lattice.of(texts, pieces), np.log(uses) - np.log(uses.sum())
    goal = max(int(size * MARGIN), fixed)

    def keep(chosen: NDArray[np.bool_]) -> None:
        nonlocal pieces, lattice, scores, uses
        pieces = [piece for piece, is_chosen in zip(pieces, chosen, strict=True) if is_chosen]
        lattice = lattice.keep(chosen[lattice.piece], np.cumsum(chosen) - 1)
        scores, uses = scores[chosen], uses[chosen]

    while True:
        for _ in range(EM_STEPS):
            uses, _ = lattice.expected(scores, weight)
            uses[:fixed] = np.maximum(uses[:fixed], RARE)
            keep(uses >= RARE)
            scores = digamma(uses) - digamma(uses.sum())
        events.emit("progress", label="unigram pieces", done=len(pieces), total=None, unit="left")
        if len(pieces) <= goal:
            break
        losses = _losses(lattice, pieces, scores, weight, fixed)
        count = max(goal, int(SHRINK * len(pieces))) - fixed
        missed = np.argsort(-losses, kind="stable")[:count]  # equal losses: by text, as pieces are sorted
        missed = missed[np.isfinite(losses[missed])]
        keep(np.isin(np.arange(len(pieces)), np.concatenate([np.arange(fixed), missed + fixed])))
    scores = np.round(scores * GRID) / GRID
    rest = sorted(range(fixed, len(pieces)), key=lambda index: (-scores[index], pieces[index]))[: size - fixed]
    order = sorted([*range(fixed), *rest], key=lambda index: (-scores[index], pieces[index]))
    return [pieces[index] for index in order], [float(scores[index]) for index in order]


def seeds(
    segments: Sequence[str], texts: Texts, weight: Floats, most: int = MAX_SEEDS
) -> tuple[list[str], Floats, int]:
    """The pieces to begin with, their counts [P], and how many of them are characters.

    The characters come first; then, by text, the ``most`` repeated substrings of largest count x length. Substrings
    of each length are numbered from those one shorter: (number of the prefix, next character). One that is always
    followed by the same character yields to the longer.
    """
    alphabet, letter = np.unique(texts.codes, return_inverse=True)
    position, number = np.arange(len(letter)), letter
    substrings: list[str] = []
    uses: list[Floats] = []
    shorter: tuple[Ints, Floats] | None = None  # first positions and counts of the substrings one shorter
    for length in range(2, MAX_PIECE + 2):  # one more than is wanted, to know what always continues
        fits = texts.remaining[position] >= length
        position, number = position[fits], number[fits]
        key = number * len(alphabet) + letter[position + length - 1]
        _, first, child = np.unique(key, return_index=True, return_inverse=True)
        times: Floats = np.bincount(child, weight[texts.text_of[position]], len(first)).astype(np.float64)
        if shorter is not None:
            parent = number[first]
            free = np.ones(len(shorter[0]), bool)
            free[parent[times == shorter[1][parent]]] = False
            begin = shorter[0][free] - texts.begin[texts.text_of[shorter[0][free]]]
            number_of_text = texts.text_of[shorter[0][free]]
            substrings.extend(
                segments[w][b : b + length - 1] for w, b in zip(number_of_text.tolist(), begin.tolist(), strict=True)
            )
            uses.append(shorter[1][free])
        often = times >= 2
        shorter = position[first[often]], times[often]
        frequent = often[child]
        position, number = position[frequent], (np.cumsum(often) - 1)[child[frequent]]
    counts = np.concatenate(uses)
    worth = counts * np.array([len(text) for text in substrings], np.float64)
    best = sorted(range(len(substrings)), key=lambda index: (-worth[index], substrings[index]))[:most]
    best.sort(key=substrings.__getitem__)
    characters = np.bincount(letter, weight[texts.text_of], len(alphabet))
    pieces = [chr(code) for code in alphabet] + [substrings[index] for index in best]
    return pieces, np.concatenate([characters, counts[best]]), len(alphabet)


def _losses(lattice: Lattice, pieces: Sequence[str], scores: Floats, weight: Floats, fixed: int) -> NDArray[np.float32]:
    """What the likelihood loses when a piece longer than a character goes and its next best spelling takes its
    uses: [P - fixed], in float32 so that noise in the last bits cannot decide. A piece no text uses: -infinity."""
    uses = np.zeros(len(pieces))
    for text, piece in lattice.paths(lattice.best(scores)[1]):
        uses += np.bincount(piece, weight[text], len(pieces))
    names = sorted(range(fixed, len(pieces)), key=lambda index: -len(pieces[index]))
    alternatives = Lattice.of(Texts.of([pieces[index] for index in names]), pieces)
    end = alternatives.last[np.minimum(alternatives.source, len(names) - 1)]
    alternatives = alternatives.keep((alternatives.source >= alternatives.nodes[1]) | (alternatives.target != end))
    used, total = uses[names], uses.sum()
    spelling, parts = np.zeros(len(names)), np.zeros(len(names))
    with np.errstate(divide="ignore", invalid="ignore"):
        for text, piece in alternatives.paths(alternatives.best(scores)[1]):
            spelling[text] += np.log(uses[piece] + used[text])
            parts[text] += 1
        spelling -= parts * np.log(total + used * (parts - 1))
        loss = used / total * (np.log(used) - np.log(total) - spelling)
    result = np.empty(len(names), np.float32)
    result[np.array(names, np.int64) - fixed] = np.where(used > 0, loss, -np.inf)
    return result
