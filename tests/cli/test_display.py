"""What is shown while a stage works: parts of a line, what is left out first, time left, share of peak."""

from __future__ import annotations

import io
import os
import threading
import time
from typing import Any

import pytest

from nlpkit.cli import display
from nlpkit.cli.display import LiveLine, Watched, fitting
from nlpkit.training.planning import estimate

STEP = {"event": "step", "step": 30, "steps": 100, "loss": 2.5, "tokens": 1000, "tokens_per_second": 2000.0}
TRAINING = {"event": "training", "step": 0, "steps": 100, "options": {"device": "cpu"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def watched(clock: list[float], *records: dict[str, Any], live: bool = False) -> Watched:
    """After events ten seconds apart."""
    found = Watched(live=live)
    for record in records:
        found.hear(record)
        clock[0] += 10
    clock[0] -= 10
    return found


def line(found: Watched, clock: list[float], width: int, *, plain: bool = False) -> str:
    return "  ".join(part.text for part in fitting(found.parts(clock[0], plain=plain), width))


def test_a_training_run_says_all_there_is(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "matrix_speed", lambda size: 1e10)
    found = watched(
        clock,
        {"event": "stage", "name": "pretrain"},
        TRAINING,
        {**STEP, "step": 10, "loss": 5.0},
        {**STEP, "step": 20, "loss": 4.0},
        {**STEP, "operations": 2e9},
        live=True,
    )
    bar, figures = f"{'━' * 7}{'╌' * 17}", "step 30/100  loss 2.500  █▅▁  2,000 tokens/s  40% of peak"
    assert line(found, clock, 200) == f"pretrain  {bar}  {figures}  1:10 left  0:40 so far"


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (120, "step loss tokens left sparkline"),
        (62, "step loss tokens left"),
        (35, "step loss left"),
        (24, "step loss"),
        (12, "step"),
    ],
)
def test_the_least_important_is_left_out_first(clock: list[float], width: int, kept: str) -> None:
    found = watched(clock, {"event": "stage", "name": "pretrain"}, TRAINING, {**STEP, "step": 20}, STEP)
    said = line(found, clock, width)
    words = {"step": "step 30/100", "loss": "loss 2.500", "tokens": "tokens/s", "left": " left", "sparkline": "▁▁"}
    assert len(said) <= width and [name for name in words if words[name] in said] == kept.split()


def test_a_terminal_of_no_width_has_an_empty_line(clock: list[float]) -> None:
    found = watched(clock, STEP)
    assert line(found, clock, 0) == line(found, clock, -3) == "" and line(found, clock, 4) == "step"


def test_plain_is_ascii(clock: list[float]) -> None:
    found = watched(clock, {"event": "stage", "name": "pretrain"}, TRAINING, {**STEP, "step": 20}, STEP)
    assert line(found, clock, 200, plain=True).isascii() and "#######-----" in line(found, clock, 200, plain=True)


def test_time_left_is_of_this_process_and_goes_on_between_reports(clock: list[float]) -> None:
    """A run that was resumed at step 90 knows nothing of how long the first 90 took."""
    found = watched(clock, {**TRAINING, "step": 90}, {**STEP, "step": 95})
    assert found.left(clock[0]) == 10 and found.left(clock[0] + 4) == 6 and found.left(clock[0] + 99) == 0
    assert watched(clock, TRAINING).left(clock[0]) is None and watched(clock, STEP).left(clock[0]) is None


def test_a_new_count_begins_anew(clock: list[float]) -> None:
    count = {"event": "progress", "label": "read", "done": 50, "total": 100, "unit": "words"}
    found = watched(clock, count, {**count, "done": 100}, {**count, "label": "made", "done": 10})
    assert found.left(clock[0]) is None
    clock[0] += 10
    found.hear({**count, "label": "made", "done": 30})
    assert found.left(clock[0]) == 35 and "made 30/100 words" in line(found, clock, 200)
    found.hear({**count, "label": "made", "done": 5, "total": None})
    assert "made 5 words" in line(found, clock, 200) and "━" not in line(found, clock, 200)


@pytest.mark.parametrize("why", ["nobody looks", "a gpu", "not said"])
def test_the_peak_is_measured_for_those_who_look_only(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(estimate, "matrix_speed", lambda size: measured.append(size) or 1e9)
    device = {"device": "cuda" if why == "a gpu" else "cpu"}
    step = STEP if why == "not said" else {**STEP, "operations": 1e9}
    found = watched(clock, {**TRAINING, "options": device}, step, live=why != "nobody looks")
    assert found.peak_fraction is None and measured == []
    found = watched(clock, TRAINING, {**STEP, "operations": 1e9}, {**STEP, "operations": 1e9}, live=True)
    assert found.peak_fraction == 2.0 and len(measured) == 1


def test_a_sparkline_is_the_course_of_the_numbers() -> None:
    assert display.sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert display.sparkline([3.0, 3.0]) == "▁▁" and display.sparkline([]) == ""
    assert [display.clock(value) for value in (-1, 59.6, 3600, 200_000)] == ["0:00", "1:00", "1:00:00", "2 days"]


def test_a_heartbeat_has_the_figures(clock: list[float]) -> None:
    said: list[str] = []
    heartbeat = display.Heartbeat(said.append)
    for seconds, step in ((5, 10), (6, 20), (40, 30), (21, 40)):
        heartbeat(TRAINING if step == 10 else {**STEP, "step": step})
        clock[0] += seconds
    heartbeat({**STEP, "step": 50})
    heartbeat({"event": "evaluation", "step": 20, "metrics": {"dev_loss": 2.0}, "best": True})
    heartbeat({"event": "note", "text": "hello"})
    assert said == [
        "step 30/100, loss 2.500, 2,000 tokens/s, 0:26 left",
        "step 50/100, loss 2.500, 2,000 tokens/s, 1:12 left",
        "evaluation at step 20: dev_loss 2.0000 (best so far)",
        "hello",
    ]


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_the_line_never_breaks(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through rich itself, at the terminal's width."""
    from rich.console import Console

    live = LiveLine()
    live.watched = Watched()
    for record in ({"event": "stage", "name": "pretrain"}, TRAINING, STEP):
        live.watched.hear(record)
    out = io.StringIO()
    Console(file=out, width=columns, force_terminal=True, color_system=None).print(live)
    (text,) = out.getvalue().rstrip("\n").split("\n")
    assert len(text) <= columns and "step 30/100" in text and os.linesep not in text


def test_what_a_run_will_take_is_said_once_and_early(clock: list[float]) -> None:
    said: list[str] = []
    heartbeat = display.Heartbeat(said.append)
    for step in range(1, 9):
        heartbeat({"event": "pace", "step": step, "steps": 7201})
        clock[0] += 1.0
    assert len(said) == 1 and said[0].startswith("about 2 h 0 min for 7,198 steps more, at the pace of the first 2; ")
    assert said[0].endswith(" GB of memory so far")
    heartbeat({"event": "stage", "name": "vectors train", "output": "v"})
    for done in (0, 500, 1000):
        heartbeat({"event": "progress", "label": "reading corpus", "done": done, "total": None, "unit": "words"})
        heartbeat({"event": "progress", "label": "epoch 1/2", "done": done, "total": 4000, "unit": "words"})
        clock[0] += 3
    assert len(said) == 2 and said[1].startswith("about 21.0 s for 3,500 words more, at the pace of the first 500; ")


def test_a_command_that_says_nothing_is_spoken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the command is doing: the clock has a thread of its own, which ends with the command."""
    monkeypatch.setattr(display, "FIRST_BEAT", 0.2)
    said: list[str] = []
    before = threading.active_count()
    with display.Heartbeat(said.append, "tokenizer train"):
        time.sleep(1.5)
    assert said == ["tokenizer train: 0:01 so far"]
    time.sleep(1.2)
    assert threading.active_count() == before and len(said) == 1


def test_a_quick_command_says_nothing_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    from nlpkit.cli.app import run

    assert run(["ls"]) == 0
    assert capsys.readouterr().err == ""
