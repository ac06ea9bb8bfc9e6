"""The plan for people says which numbers are of the run as typed."""

from __future__ import annotations

from typing import Any

import pytest

from nlpkit.cli.plan import show

WAY = {"batch_tokens": 64, "accumulate": 1, "checkpointing": False, "memory_bytes": 900, "operations_per_step": 10}
PLAN: dict[str, Any] = {
    "parameters": 7,
    "trained_parameters": 7,
    "steps": 2,
    "tokens_per_step": 64,
    "operations_per_step": 13,
    "memory_bytes": 500,
    "seconds": 1.0,
}


def test_the_numbers_of_a_suggestion_are_told_from_those_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    tried = [{**WAY, "same_bytes": True}, {**WAY, "same_bytes": True, "checkpointing": True, "memory_bytes": 500}]
    show({**PLAN, "memory_limit": 600, "tried": tried, "change": {"checkpointing": True}})
    text = capsys.readouterr().out
    assert "memory      500 B, with the options suggested below" in text and "does not fit (as typed)" in text
    assert "fits (suggested)" in text and "parameters  7, all trained" in text
    show({**PLAN, "trained_parameters": 3})
    text = capsys.readouterr().out
    assert "suggested" not in text and "parameters  7, 3 of them trained" in text
