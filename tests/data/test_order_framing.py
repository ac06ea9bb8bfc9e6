"""The order of examples, and how texts are framed and truncated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpkit.base.seeds import Address
from nlpkit.data.framing import Framing, pack, truncate
from nlpkit.data.order import START, Epochs, epoch_batches, in_order

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@given(LENGTHS, st.integers(200, 600), st.integers(0, 3))
def test_an_epoch_has_every_example_once_and_batches_keep_their_size(
    lengths: list[int], tokens: int, epoch: int
) -> None:
    sizes = np.array(lengths)
    batches = epoch_batches(sizes, tokens, Address(1, ("order", epoch)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(sizes[batch].sum() <= tokens + sizes.max() for batch in batches)
    assert len(batches) <= -(-sizes.sum() // tokens) * 1.5 + 2
    again = epoch_batches(sizes, tokens, Address(1, ("order", epoch)))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


def test_epochs_differ_and_any_position_can_be_read_again() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 500)
    source = Epochs(lengths, lambda examples, epoch: examples, batch_tokens=300, seed=0)  # type: ignore[arg-type,return-value]
    count = source.count(1)
    assert source.count(2) == count + len(source.plan(1))
    stream = source.batches(START)
    read = [next(stream) for _ in range(count + 3)]
    assert [epoch for _, epoch, _ in read] == [0] * count + [1] * 3
    assert not np.array_equal(read[0][0], read[count][0])
    for cut in (0, 1, count - 1, count):
        position = START if cut == 0 else read[cut - 1][2]
        rest = source.batches(position)
        for expected in read[cut:]:
            found = next(rest)
            assert np.array_equal(found[0], expected[0]) and found[1:] == expected[1:]


def test_batches_for_measuring_cover_everything_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 90, 200)
    batches = in_order(lengths, 256)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    assert all(len(batch) == 1 or lengths[batch].max() * len(batch) <= 256 for batch in batches)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=2), st.integers(1, 40))
def test_truncation_takes_from_the_longer(lengths: list[int], room: int) -> None:
    texts = [np.arange(length, dtype=np.int64) for length in lengths]
    cut = truncate(texts, room)
    assert sum(map(len, cut)) == min(room, sum(lengths))
    assert all(np.array_equal(after, before[: len(after)]) for before, after in zip(texts, cut, strict=True))
    if len(texts) == 2 and sum(lengths) > room:
        longer, shorter = (0, 1) if lengths[0] >= lengths[1] else (1, 0)
        assert len(cut[shorter]) == min(lengths[shorter], room // 2)
        assert len(cut[longer]) == room - len(cut[shorter])


def test_framing_of_encoders_and_decoders() -> None:
    first, second = np.array([10, 11]), np.array([20])
    encoder = Framing(before=(2,), between=(3,), after=(3,), segments=True)
    framed = encoder.frame([first, second])
    assert framed.tokens.tolist() == [2, 10, 11, 3, 20, 3]
    assert framed.segments.tolist() == [0, 0, 0, 0, 1, 1]
    assert framed.special.tolist() == [True, False, False, True, False, True]
    assert encoder.extra(2) == 3 and encoder.extra() == 2
    decoder = Framing(before=(), between=(3,), after=(3,), segments=False)
    assert decoder.frame([first]).tokens.tolist() == [10, 11, 3]
    assert decoder.extra() == 1
    double = Framing(before=(2,), between=(3, 3), after=(3,), segments=False)  # RoBERTa's
    assert double.frame([first, second]).tokens.tolist() == [2, 10, 11, 3, 3, 20, 3] and double.extra(2) == 4
    batch = pack([framed, encoder.frame([second])], [7, 9], segments=True)
    assert batch.tokens.tolist() == [2, 10, 11, 3, 20, 3, 2, 20, 3]
    assert batch.packing.lengths == (6, 3) and batch.examples.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [((4, 4, 2), [(0, 2, 4), (8, 1, 2)]), ((1,), [(0, 1, 1)]), ((2, 3, 2), [(0, 1, 2), (2, 1, 3), (5, 1, 2)])],
)
def test_packing_knows_its_runs(lengths: tuple[int, ...], runs: list[tuple[int, int, int]]) -> None:
    from nlpkit.layers.packing import Packing

    packing = Packing.of(lengths)
    assert [(run.start, run.count, run.length) for run in packing.runs] == runs
    assert packing.positions.tolist() == [place for length in lengths for place in range(length)]
    assert packing.ends.tolist() == list(np.cumsum(lengths) - 1)
    assert packing.sequence.tolist() == [n for n, length in enumerate(lengths) for _ in range(length)]
