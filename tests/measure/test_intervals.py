"""Bootstrap intervals: known values, coverage, pairing, and the two fast ways equal to the plain one."""

import numpy as np
import pytest

from nlpkit.measure import intervals


def test_the_interval_of_a_mean_is_the_normal_one_for_many_examples():
    values = np.random.default_rng(0).normal(3, 2, size=4000)
    found = intervals.mean(values, seed=1, resamples=4000)
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_mean_and_ratio_equal_the_plain_bootstrap_draw_for_draw():
    rng = np.random.default_rng(1)
    above, below = rng.random(50), rng.integers(1, 9, 50)
    plain = intervals.bootstrap(lambda a, b: a.sum() / b.sum(), above, below, seed=5)
    fast = intervals.ratio(above, below, seed=5)
    assert [plain.value, plain.low, plain.high] == pytest.approx([fast.value, fast.low, fast.high], rel=1e-12)
    assert intervals.mean(above, seed=5) == intervals.ratio(above, np.ones(50), seed=5)


def test_blocks_of_draws_do_not_change_them(monkeypatch):
    whole = intervals.mean(np.arange(30.0), seed=2)
    monkeypatch.setattr(intervals, "_AT_ONCE", 45)
    assert intervals.mean(np.arange(30.0), seed=2) == whole


def test_the_multinomial_way_has_the_distribution_of_drawn_examples():
    truth = np.repeat([0, 0, 1, 1], [400, 100, 60, 240])
    guess = np.repeat([0, 1, 0, 1], [400, 100, 60, 240])
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (truth, guess), 1)
    by_examples = intervals.bootstrap(lambda a, b: (a == b).mean(), truth, guess, seed=3, resamples=4000)
    by_cells = intervals.cells(lambda t: np.trace(t, axis1=1, axis2=2) / t.sum((1, 2)), counts, seed=4, resamples=4000)
    assert by_cells.value == by_examples.value == 0.8
    assert by_cells.low == pytest.approx(by_examples.low, abs=0.004)
    assert by_cells.high == pytest.approx(by_examples.high, abs=0.004)


def test_95_percent_intervals_hold_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(300):
        found = intervals.mean(rng.random(100) < 0.6, seed=trial, resamples=300)
        held += found.low <= 0.6 <= found.high
    assert 0.90 <= held / 300 <= 0.99


def test_a_paired_difference_is_narrower_than_an_unpaired_one():
    rng = np.random.default_rng(2)
    hard = rng.random(500)  # what both systems find hard
    a, b = hard + 0.1, hard + 0.01 * rng.random(500)
    difference = intervals.bootstrap(lambda x, y: x.mean() - y.mean(), a, b, seed=0)
    assert 0.08 < difference.low < difference.value < difference.high < 0.1
    assert difference.high - difference.low < 0.1 * (intervals.mean(a, seed=0).high - intervals.mean(a, seed=0).low)


def test_same_seed_same_interval_and_the_level_widens_it():
    values = np.random.default_rng(3).random(40)
    assert intervals.mean(values, seed=9) == intervals.mean(values, seed=9)
    assert intervals.mean(values, seed=9) != intervals.mean(values, seed=10)
    assert intervals.mean(values, seed=9, level=0.99).low < intervals.mean(values, seed=9, level=0.5).low


def test_undefined_draws_do_not_count_and_one_example_has_no_width():
    found = intervals.bootstrap(lambda a: float("nan") if a.std() == 0 else a.mean(), np.array([0.0, 1.0]), seed=0)
    assert found.value == 0.5 and not np.isnan([found.low, found.high]).any()
    assert intervals.mean(np.array([2.0]), seed=0) == intervals.Interval(2.0, 2.0, 2.0)


@pytest.mark.parametrize("arrays", [(np.zeros(0),), (np.zeros(3), np.zeros(4))])
def test_arrays_must_be_parallel_and_not_empty(arrays):
    with pytest.raises(ValueError, match="parallel arrays"):
        intervals.bootstrap(lambda *a: 0.0, *arrays, seed=0)
