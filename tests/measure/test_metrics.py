"""Classification metrics: equal to scikit-learn's, whatever classes are missing, and so in every resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.measure import intervals, metrics


@pytest.fixture(scope="module")
def known():
    """Theirs, when it is asked for: it takes seconds to import, and each worker collects this file."""
    from sklearn import metrics as theirs

    return theirs


pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(examples=pairs)
def test_values_equal_sklearns(known, examples):
    truth, guess = np.array(examples).T
    counts = metrics.confusion(truth, guess, 5)
    assert (counts == known.confusion_matrix(truth, guess, labels=range(5))).all()
    found = metrics.point(counts)
    assert found["accuracy"] == pytest.approx(known.accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(known.f1_score(truth, guess, average="macro", zero_division=0))
    seen = sorted(set(truth) | set(guess))
    assert found["mcc"] == pytest.approx(
        known.matthews_corrcoef(truth, guess) if len(seen) > 1 else 0
    )  # of one, theirs warns
    by_class = known.f1_score(truth, guess, average=None, labels=seen, zero_division=0)
    assert metrics.class_f1(counts[None])[0][seen] == pytest.approx(by_class)


def test_many_tables_at_once_are_each_their_own_value():
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 9, (7, 3, 3))
    for name, metric in metrics.METRICS.items():
        assert metric(tables) == pytest.approx([metrics.point(table)[name] for table in tables])


def test_measure_names_every_class_that_occurs_and_orders_the_bounds():
    truth, guess = np.array([0, 0, 1, 1, 1, 0, 0]), np.array([0, 0, 1, 0, 1, 0, 1])
    found = metrics.measure(metrics.confusion(truth, guess, 3), ["a", "b", "never"], seed=1)
    assert list(found) == ["accuracy", "macro_f1", "mcc", "f1.a", "f1.b"]
    assert found["accuracy"].value == pytest.approx(5 / 7)
    assert all(item.low <= item.value <= item.high for item in found.values())


def test_intervals_agree_with_resampling_examples_through_sklearn(known):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 200)
    guess = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 3, 200))
    slow = intervals.bootstrap(lambda a, b: known.f1_score(a, b, average="macro"), truth, guess, seed=1, resamples=600)
    fast = metrics.measure(metrics.confusion(truth, guess, 3), "abc", seed=2, resamples=4000)["macro_f1"]
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.012)


def test_a_comparison_is_paired():
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 400)
    teacher = np.where(rng.random(400) < 0.8, truth, 1 - truth)
    student = teacher.copy()
    student[:8] = 1 - truth[:8]  # the student differs from its teacher on few examples
    found = metrics.compare(truth, student, teacher, 2, seed=0)
    lost = (student == truth).mean() - (teacher == truth).mean()
    assert found["accuracy"].value == pytest.approx(lost)
    alone = metrics.measure(metrics.confusion(truth, student, 2), "ab", seed=0)["accuracy"]
    assert found["accuracy"].high - found["accuracy"].low < 0.5 * (alone.high - alone.low)
    assert found["agreement"].value == pytest.approx((student == teacher).mean())
