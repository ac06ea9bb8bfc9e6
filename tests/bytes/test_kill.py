"""Kill it anywhere: SIGKILL at random moments and at every kind of system call, and a full disk: the bytes are the same
in the end.

`benchmarks/kill.py` is the long version: 20 kills of each stage through the installed command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Kills of each stage at random moments, and one in how many of the chosen ones is taken.
FEW, MANY = (2, 8), (4, 1)
SAVING = ("pretrain", "finetune", "distill", "replay", "glove", "word2vec", "subwords")
STAGES = (*SAVING, "cooccur", "tokenizer", "tokens")
NIGHTLY = ("finetune", "distill", "subwords")  # the loop of pretrain, and the rounds of word2vec, once more
SCRIPT = Path(__file__).parent / "killing.py"
ALWAYS = [pytest.param(stage, marks=[pytest.mark.slow] * (stage in NIGHTLY)) for stage in STAGES]


@pytest.fixture(scope="module", params=[FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = str(tmp_path_factory.mktemp("kill"))
    stages = [stage for stage in STAGES if request.param == MANY or stage not in NIGHTLY]
    command = [sys.executable, str(SCRIPT), folder, *map(str, request.param), *stages]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {"asked": request.param, **json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("stage", ALWAYS)
def test_killed_at_random_moments_the_bytes_are_the_same(found: dict[str, Any], stage: str) -> None:
    if stage not in found:
        pytest.skip("of the nightly run")
    seen = found[stage]["random"]
    assert seen["wrong"] == [] and seen["kills"] == found["asked"][0] and seen["runs"] >= 1
    assert (seen["resumed"] >= 1) == (stage in SAVING)  # else no run went on from a state, and nothing was shown


@pytest.mark.parametrize("stage", ALWAYS)
def test_killed_while_files_get_their_names_nothing_is_broken_or_left(found: dict[str, Any], stage: str) -> None:
    """Before and after fsync, rename and removal, and in the middle of a write; of states and of the result."""
    if stage not in found:
        pytest.skip("of the nightly run")
    seen = found[stage]["points"]
    assert seen["wrong"] == {} and seen["points"] >= (20 if stage in SAVING else 5)
    assert seen["killed"] >= (5 if found["asked"] == MANY else 1)


@pytest.mark.parametrize("stage", ALWAYS)
def test_a_full_disk_leaves_what_was_saved_and_with_room_the_run_goes_on(found: dict[str, Any], stage: str) -> None:
    if stage not in found:
        pytest.skip("of the nightly run")
    seen = found[stage]["full"]
    assert seen["wrong"] == [] and seen["saved"] == (stage in SAVING)
