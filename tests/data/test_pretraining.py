"""Sequences for pre-training: every token once an epoch, documents kept apart, pairs as BERT's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import tokenizer

from nlpkit.base.errors import UserError
from nlpkit.data import framing as templates
from nlpkit.data.batch import Batch
from nlpkit.data.framing import Framing, framing
from nlpkit.data.order import Epochs
from nlpkit.data.pretraining import chunk, source
from nlpkit.data.tokenfile import TokenFiles

MADE = tokenizer()
FIRST = 100  # an id no piece has, so that tokens can be told from framing
ENCODER, DECODER = framing(templates.ENCODER, MADE), framing(templates.DECODER, MADE)


def files(documents: list[list[int]], *, by_document: bool = False) -> TokenFiles:
    """Documents given as the lengths of their sentences. Each token is its place, or its document's number."""
    lengths = [length for document in documents for length in document]
    sizes = [sum(document) for document in documents]
    tokens = np.repeat(np.arange(len(documents)), sizes) if by_document else np.arange(sum(lengths))
    return TokenFiles.from_arrays(
        tokens + FIRST, np.cumsum(lengths), np.cumsum([len(document) for document in documents]), MADE
    )


DOCUMENTS = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=8)
SOME = DOCUMENTS.filter(lambda documents: sum(map(sum, documents)) > 1)


def epoch(made: Epochs, number: int = 0) -> list[Batch]:
    found = []
    for batch, which, _ in made.batches({"epoch": number, "batch": 0}):
        if which != number:
            return found
        found.append(batch)
    return found


def sequences(batches: list[Batch]) -> dict[int, tuple[list[int], list[bool], list[int]]]:
    """Example -> its tokens, which of them are framing, its segments."""
    found = {}
    for batch in batches:
        starts = np.cumsum([0, *batch.packing.lengths])
        for row, example in enumerate(batch.examples.tolist()):
            part = slice(starts[row], starts[row + 1])
            segments = [] if batch.segments is None else batch.segments[part].tolist()
            assert example not in found
            found[example] = (batch.tokens[part].tolist(), batch.special[part].tolist(), segments)
        assert starts[-1] == len(batch.tokens)
    return found


def text(sequence: tuple[list[int], list[bool], list[int]]) -> list[int]:
    tokens, special, _ = sequence
    assert special == [token < FIRST for token in tokens]
    return [token - FIRST for token in tokens if token >= FIRST]


@given(SOME, st.integers(5, 40), st.sampled_from([ENCODER, DECODER]))
@settings(max_examples=150, deadline=None)
def test_blocks_are_the_running_text(documents: list[list[int]], max_len: int, frame: Framing) -> None:
    made = source("blocks", files(documents), frame, max_len=max_len, batch_tokens=60, seed=1)
    found = sequences(epoch(made))
    inside = []
    for example in sorted(found):
        tokens, special, segments = found[example]
        assert len(tokens) == max_len if example < len(found) - 1 else 2 <= len(tokens) <= max_len
        if frame.before:
            assert (tokens[0], tokens[-1]) == (ENCODER.before[0], ENCODER.last) and special[0] and special[-1]
            assert set(segments) == {0}
            tokens = tokens[1:-1]
        else:
            assert segments == []
        inside += tokens
    stream, place = [], 0
    for document in documents:
        stream += [*range(FIRST + place, FIRST + place + sum(document)), ENCODER.last]
        place += sum(document)
    assert inside == stream[: len(inside)]
    assert stream[len(inside) :] in ([], [ENCODER.last])  # a block of one separator is left out, no text ever is


@given(SOME, st.integers(5, 40), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_sentences_of_one_document_each_token_once(documents: list[list[int]], max_len: int, number: int) -> None:
    given_files = files(documents)
    made = source("sentences", given_files, ENCODER, max_len=max_len, batch_tokens=64, seed=3)
    found = sequences(epoch(made, number))
    owner = np.repeat(np.arange(len(documents)), [sum(document) for document in documents])
    assert sorted(token for item in found.values() for token in text(item)) == list(range(given_files.n_tokens))
    for tokens, special, segments in found.values():
        assert 2 < len(tokens) <= max_len and set(segments) == {0} and (special[0], special[-1]) == (True, True)
        inside = [token - FIRST for token in tokens[1:-1]]
        assert inside == list(range(inside[0], inside[-1] + 1))
        assert len({int(owner[token]) for token in inside}) == 1


@given(DOCUMENTS, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_chunks_are_whole_sentences_that_fit(documents: list[list[int]], room: int) -> None:
    given_files = files(documents)
    starts, stops = chunk(given_files, room)
    assert np.array_equal(np.concatenate([[0], stops]), np.concatenate([starts, [given_files.n_tokens]]))
    ends, document_ends = set(given_files.sentence_ends.tolist()), given_files.document_token_ends.tolist()
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        assert 0 < stop - start <= room
        assert not any(start < end < stop for end in document_ends)
        if stop not in ends:  # a sentence is only cut where it alone is too long
            assert stop - start == room and not any(start < end < stop for end in ends)
        elif stop not in document_ends:  # and the next sentence had no room
            after = min(end for end in ends if end > stop)
            assert after - start > room


def test_pairs_are_two_segments_half_of_them_from_elsewhere() -> None:
    documents = [[5, 6, 4, 7, 5, 3] * 10 for _ in range(20)]
    made = source("pairs", files(documents, by_document=True), ENCODER, max_len=32, batch_tokens=256, seed=5)
    counted: Counter[int] = Counter()
    short = total = 0
    for number in range(4):
        for batch in epoch(made, number):
            labels = batch.labels["nsp"].tolist()
            found = sequences([batch])
            for example, label in zip(batch.examples.tolist(), labels, strict=True):
                tokens, special, segments = found[example]
                assert len(tokens) <= 32
                assert (
                    tokens[0] == ENCODER.before[0]
                    and [tokens[place] for place in range(len(tokens)) if special[place]][1:] == [ENCODER.last] * 2
                )
                assert sorted(segments) == segments and set(segments) == {0, 1}
                sides = [
                    {token for token, segment in zip(tokens, segments, strict=True) if segment == side} - {2, 3}
                    for side in (0, 1)
                ]
                assert len(sides[0]) == len(sides[1]) == 1
                assert (sides[0] != sides[1]) == bool(label)
                counted[label] += 1
                short += len(tokens) < 16
                total += 1
    assert abs(counted[1] / total - 0.5) < 4 * (0.25 / total) ** 0.5
    assert 0.02 < short / total < 0.1  # one in ten is cut to a random length of 2 to 29


def test_a_second_segment_follows_its_first() -> None:
    made = source("pairs", files([[4] * 30, [4] * 30]), ENCODER, max_len=27, batch_tokens=64, seed=0)
    follows = 0
    for batch in epoch(made):
        found = sequences([batch])
        for example, label in zip(batch.examples.tolist(), batch.labels["nsp"].tolist(), strict=True):
            tokens, _, segments = found[example]
            sides = [
                [token for token, segment in zip(tokens, segments, strict=True) if segment == side and token >= FIRST]
                for side in (0, 1)
            ]
            for side in sides:
                assert side == list(range(side[0], side[-1] + 1))
            if label == 0 and len(tokens) == 27:
                assert sides[1][0] == sides[0][-1] + 1 and (sides[1][0] - FIRST) % 4 == 0
                follows += 1
    assert follows > 3


def test_a_chunk_of_one_sentence_always_gets_a_random_second() -> None:
    made = source("pairs", files([[20], [20], [20]], by_document=True), ENCODER, max_len=32, batch_tokens=64, seed=0)
    for number in range(5):
        assert all(batch.labels["nsp"].tolist() == [1] * len(batch.examples) for batch in epoch(made, number))


@given(SOME.filter(lambda documents: len(documents) > 1), st.integers(5, 20), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_pairs_of_any_documents_fit_and_have_two_texts(documents: list[list[int]], max_len: int, number: int) -> None:
    made = source("pairs", files(documents, by_document=True), ENCODER, max_len=max_len, batch_tokens=64, seed=2)
    for batch in epoch(made, number):
        for example, (tokens, special, segments) in sequences([batch]).items():
            assert len(tokens) <= max_len and sum(special) == 3
            label = int(batch.labels["nsp"][batch.examples.tolist().index(example)])
            inside = [
                {token for token, segment in zip(tokens, segments, strict=True) if segment == side and token >= FIRST}
                for side in (0, 1)
            ]
            assert inside[0]
            if inside[1]:
                assert (inside[0] != inside[1]) == bool(label)


@pytest.mark.parametrize("name", ["blocks", "sentences", "pairs"])
def test_a_batch_is_a_function_of_its_address(name: str) -> None:
    given_files = files([[5, 6, 4, 7, 5, 3]] * 20)
    made = source(name, given_files, ENCODER, max_len=20, batch_tokens=60, seed=5)
    whole = [
        (batch, after)
        for batch, _, after in (
            item for item, _ in zip(made.batches({"epoch": 1, "batch": 0}), range(12), strict=False)
        )
    ]
    again = source(name, given_files, ENCODER, max_len=20, batch_tokens=60, seed=5)
    later = [batch for (batch, _, _), _ in zip(again.batches(whole[4][1]), range(7), strict=False)]
    for (one, _), two in zip(whole[5:], later, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist() and one.examples.tolist() == two.examples.tolist()
        assert {key: value.tolist() for key, value in one.labels.items()} == {
            key: value.tolist() for key, value in two.labels.items()
        }
    other = source(name, given_files, ENCODER, max_len=20, batch_tokens=60, seed=6)
    assert next(other.batches({"epoch": 1, "batch": 0}))[0].examples.tolist() != whole[0][0].examples.tolist()


@pytest.mark.parametrize(
    ("name", "documents", "more", "says"),
    [
        ("blocks", [[3]], {"max_len": 4}, "max-len 4 is too short"),
        ("blocks", [[3]], {"batch_tokens": 10}, "batch-tokens 10 is less than max-len 20"),
        ("blocks", [[0]], {}, "too few to train on"),
        ("sentences", [[0, 0], [0]], {}, "holds no tokens"),
        ("pairs", [[3, 4]], {}, "at least two documents"),
        ("block", [[3]], {}, 'did you mean "blocks"'),
    ],
)
def test_what_cannot_be_cut_is_said(name: str, documents: list[list[int]], more: dict[str, int], says: str) -> None:
    options = {"max_len": 20, "batch_tokens": 64, "seed": 0, **more}
    given_framing = DECODER if documents == [[0]] else ENCODER
    with pytest.raises(UserError) as caught:
        source(name, files(documents), given_framing, **options)
    assert says in caught.value.what
