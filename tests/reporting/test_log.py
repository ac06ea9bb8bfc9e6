"""Logs read back: resumed runs, several runs, logs of any hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.reporting import log
from nlpkit.reporting.curves import along, groups
from nlpkit.reporting.sources import Run


def text(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def training(step: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "event": "training",
        "command": "pretrain",
        "output": "m.safetensors",
        "options": {"lr": 1e-3},
        "inputs": [],
        "steps": 40,
        "parameters": 7,
        "step": step,
        **more,
    }


def step(number: int, loss: float = 1.0, tokens: int = 100, speed: float = 50.0, **more: Any) -> dict[str, Any]:
    return {
        "event": "step",
        "step": number,
        "steps": 40,
        "loss": loss,
        "losses": {"mlm": loss},
        "lr": 0.1,
        "gradient_norm": 2.0,
        "tokens": tokens,
        "tokens_per_second": speed,
        **more,
    }


def evaluation(number: int, value: float, *, best: bool = True) -> dict[str, Any]:
    return {
        "event": "evaluation",
        "step": number,
        "metrics": {"dev_mlm_loss": value, "x": 0.5},
        "score": -value,
        "best": best,
    }


DONE = {
    "event": "done",
    "name": "pretrain",
    "output": "a/m.safetensors",
    "kind": "model",
    "sha256": "ab" * 32,
    "bytes": 9,
}


def test_a_whole_run() -> None:
    records = [training(), step(10, 3.0), evaluation(10, 2.5), step(20, 2.0), evaluation(20, 2.6, best=False), DONE]
    (run,) = log.read(text(*records), "l.jsonl")
    assert run.curves["loss"] == [(10, 3.0), (20, 2.0)] and set(run.curves) == set(log.OF_A_STEP)
    assert run.dev == {"dev_mlm_loss": [(10, 2.5), (20, 2.6)], "x": [(10, 0.5), (20, 0.5)]}
    assert run.bests == [10] and run.chosen_by == "dev_mlm_loss" and run.terms == ["mlm"]
    assert run.tokens == [(10, 100.0), (20, 200.0)] and run.seconds == [(10, 2.0), (20, 4.0)]
    assert run.done is not None and run.done["sha256"] == "ab" * 32


def test_what_was_learnt_is_read_with_what_guessing_gets() -> None:
    early = {"event": "note", "text": "has not left", "step": 8, "loss": 2.5, "guess": 2.6, "term": "mlm"}
    end = {"event": "note", "text": "last loss 2.0", "loss": 2.0, "guess": 2.6, "term": "mlm"}
    (run,) = log.read(text(training(), step(8, 2.5), early, step(40, 2.0), end, DONE), "l.jsonl")
    assert run.verdict == "last loss 2.0" and run.levels == {"loss: mlm": {"guessing": 2.6}}
    (group,) = groups([Run("m", logged=run)])
    assert [one.levels for one in group.charts["step"]] == [[("guessing", 2.6)]]  # the only term is the loss
    end = {"event": "note", "text": "dev accuracy", "accuracy": 0.9, "bag_of_words": 0.8, "majority": 0.2}
    (run,) = log.read(text(training(), step(8, 2.5), {"event": "note", "text": "other"}, end), "l.jsonl")
    assert run.levels == {"accuracy": {"a bag of words": 0.8, "the most frequent label": 0.2}}
    strange = [{"guess": True, "term": "mlm"}, {"guess": 1e301, "term": "mlm"}, {"guess": 2.0, "term": []}, {}]
    notes = [{"event": "note", "text": "strange", **fields} for fields in strange]
    (run,) = log.read(text(training(), step(8, 2.5), *notes), "l.jsonl")
    assert run.verdict is None and run.levels == {}


def test_a_resumed_run_is_one_run_with_each_step_once() -> None:
    """It was saved after step 15, so the report at 20 comes twice; the second counts 5 steps only."""
    first = [training(), step(10, 3.0), step(20, 2.0), evaluation(20, 2.4)]
    again = [training(15), step(20, 2.0, tokens=50), evaluation(20, 2.4), step(30, 1.0), DONE]
    (run,) = log.read(text(*first, *again), "l")
    assert run.curves["loss"] == [(10, 3.0), (20, 2.0), (30, 1.0)] and run.dev["dev_mlm_loss"] == [(20, 2.4)]
    assert run.bests == [20] and run.tokens == [(10, 100.0), (20, 200.0), (30, 300.0)]


def test_after_the_end_or_with_other_options_it_is_another_run() -> None:
    begun = [training(), step(10)]
    runs = log.read(text(*begun, DONE, *begun, training(options={"lr": 2e-3}), step(10)), "l")
    assert [run.done is not None for run in runs] == [True, False, False]


def test_a_log_of_before_it_said_where_a_run_goes_on() -> None:
    (run,) = log.read(text(step(10, 3.0), step(20, 2.0), step(20, 1.9), step(30, 1.0), DONE), "l")
    assert run.training is None and run.curves["loss"] == [(10, 3.0), (20, 1.9), (30, 1.0)]


def test_word_vectors_are_taught_in_epochs() -> None:
    told = [(0, 50, 4.0), (1, 50, 3.0), (2, 100, 1.5), (2, 100, 1.5)]
    notes = [
        {"event": "note", "text": "epoch", "epoch": epoch, "words": words, "loss": loss} for epoch, words, loss in told
    ]
    (run,) = log.read(text({"event": "note", "text": "hello"}, *notes), "l")
    assert run.unit == "epoch" and run.tokens == [(1, 50.0), (2, 100.0)]
    assert run.curves == {"loss": [(0, 4.0), (1, 3.0), (2, 1.5)]}
    assert along(run.curves["loss"], "tokens", run) == [(0.0, 4.0), (50.0, 3.0), (100.0, 1.5)]


def test_what_is_no_number_is_counted_and_not_drawn() -> None:
    (run,) = log.read(text(step(10, float("nan")), step(20, float("inf")), step(30, 1.0), step(40, loss="high")), "l")
    assert run.curves["loss"] == [(30, 1.0)] and run.gone == 2


@pytest.mark.parametrize("bad", ["[1]", '{"step": 1}', '{"event": 3}', "hello", '{"event": "step"', "[" * 100_000])
def test_a_line_that_is_no_event_is_named(bad: str) -> None:
    with pytest.raises(UserError, match=r"l\.jsonl:2: is not an event"):
        log.read(f"{text(step(1))}{bad}\n{text(step(2))}", "l.jsonl")


def test_a_line_that_was_being_written_is_left_out_and_said() -> None:
    said: list[str] = []
    with events.listen(lambda record: said.append(record["text"])):
        (run,) = log.read(text(step(1), step(2)) + '{"event": "step", "st', "l")
    assert run.curves["loss"][-1][0] == 2 and said == ["l: the last line is not whole and was left out"]


def test_a_log_without_a_run_is_refused() -> None:
    with pytest.raises(UserError, match="has no run"):
        log.read(text({"event": "note", "text": "hello"}), "l")


@pytest.mark.parametrize("values", [None, -1, 0, "x", [], {}, True, 10**400])
def test_values_of_any_type_are_no_trouble(values: Any) -> None:
    """Nothing that a line can say ends in a traceback."""
    records = [training(step=values, steps=values, inputs=values, options=values), step(5, loss=values, tokens=values)]
    names = ("step", "losses", "lr", "tokens_per_second", "metrics", "score", "best", "epoch", "words")
    records += [
        {"event": event, **dict.fromkeys(names, values), "loss": 1.0}
        for event in ("step", "evaluation", "note", "done", "stage", "never heard of")
    ]
    runs = [Run("m", logged=found) for found in log.read(text(*records, step(20), DONE), "l")]
    assert all(chart.lines for group in groups(runs) for charts in group.charts.values() for chart in charts)


def test_places_between_two_reports_are_in_proportion() -> None:
    (run,) = log.read(text(step(10), evaluation(15, 1.0), step(20), evaluation(25, 1.0)), "l")
    assert along(run.dev["x"], "tokens", run) == [(150.0, 0.5), (250.0, 0.5)]
    assert along(run.dev["x"], "time", run) == [(3.0, 0.5), (5.0, 0.5)]
    assert along(run.dev["x"], "step", run) == [(15.0, 0.5), (25.0, 0.5)]
