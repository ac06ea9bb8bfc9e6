"""Bounds on metrics: what is refused, what fails, and what the failure says."""

import pytest

from nlpkit.base.errors import CheckFailed, UserError
from nlpkit.evaluation import checks

NAMES = ["accuracy", "loss", "f1.a=b"]


def test_bounds_are_kept_on_the_edge_and_broken_beyond_it():
    low, high = checks.parse(["accuracy=0.6"], ["loss=1.5"], NAMES)
    assert low.check(0.6)["ok"] and not low.check(0.59)["ok"]
    assert high.check(1.5)["ok"] and not high.check(1.51)["ok"]


def test_the_failure_names_value_and_threshold_of_every_broken_bound():
    low, high, kept = checks.parse(["accuracy=0.6", "f1.a=b=0"], ["loss=1.5"], NAMES)
    assert kept.side == "max" and high.metric == "f1.a=b"  # minima come first, labels may hold an equals sign
    checks.demand([low.check(0.7)])
    with pytest.raises(CheckFailed, match=r"^accuracy is 0.55, less than the minimum 0.6; loss is 2, more than"):
        checks.demand([low.check(0.55), kept.check(2.0)])
    assert CheckFailed.exit_code == 3


@pytest.mark.parametrize("text", ["accuracy", "accuracy=", "accuracy=high", "=0.5", "acuracy=0.5", "accuracy=nan"])
def test_malformed_bounds_and_unknown_metrics_are_refused(text):
    with pytest.raises(UserError) as caught:
        checks.parse([text], [], NAMES)
    assert caught.value.where == "--min"
    assert caught.value.hint


def test_an_unknown_metric_gets_the_nearest_name():
    with pytest.raises(UserError, match='did you mean "accuracy"'):
        checks.parse(["acuracy=0.5"], [], NAMES)


def test_the_beginning_of_a_metric_is_enough_for_a_suggestion():
    with pytest.raises(UserError, match='did you mean "accuracy"'):
        checks.parse(["acc=0.5"], [], NAMES)


@pytest.mark.parametrize("text", ["accuracy=80", "f1.a=b=1.5", "accuracy=-0.1"])
def test_a_bound_out_of_the_range_of_its_metric_is_refused(text):
    for minima, maxima in (([text], []), ([], [text])):
        with pytest.raises(UserError, match="is from 0 to 1") as caught:
            checks.parse(minima, maxima, NAMES)
        assert caught.value.exit_code == 2 and "=0.8" in caught.value.hint
    assert checks.parse(["accuracy=1", "accuracy=0"], ["loss=80"], NAMES)
