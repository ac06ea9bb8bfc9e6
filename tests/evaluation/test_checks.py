"""Bounds on metrics: what is refused, what fails, and what the failure says."""

import pytest
import toys

from nlpkit.base.errors import CheckFailed, UserError
from nlpkit.evaluation import checks, language
from nlpkit.exchange.opening import load
from nlpkit.measure import metrics

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


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy=", "accuracy=high", "=0.5", "acuracy=0.5", "accuracy=nan", "loss=inf"]
)
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mcc=80", "mcc is from -1 to 1, and the bound is 80"),
        ("mcc=-1.5", "mcc is from -1 to 1"),
        ("macro_f1=80", "macro_f1 is from 0 to 1"),
        ("mlm_accuracy=60", "mlm_accuracy is from 0 to 1"),
        ("loss=-1", "loss is 0 or more, and the bound is -1"),
        ("perplexity=0.5", "perplexity is 1 or more"),
        ("bits_per_byte=-2", "bits_per_byte is 0 or more"),
    ],
)
def test_every_metric_refuses_what_it_cannot_reach(text, says):
    names = ["mcc", "macro_f1", "mlm_accuracy", "loss", "perplexity", "bits_per_byte"]
    for minima, maxima in (([text], []), ([], [text])):
        with pytest.raises(UserError, match=says) as caught:
            checks.parse(minima, maxima, names)
        assert caught.value.exit_code == 2 and caught.value.hint
    assert checks.parse(["mcc=-1", "loss=0"], ["mcc=1", "perplexity=1"], names)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_every_metric_that_is_measured_has_a_range(family, tmp_path):
    loaded = load(toys.model(tmp_path / "m.safetensors", family, n_layers=1))
    for name in [*language.names(loaded), *metrics.METRICS, "loss", "f1.a"]:
        low, high = checks.range_of(name)
        assert low < high
