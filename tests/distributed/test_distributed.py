"""Several processes train as one (docs/distributed.md): the same bytes, whole states, one voice, no hanging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import making
import pytest

import nlpkit
from nlpkit.artifact.file import file_sha256

SCRIPT = Path(__file__).parent / "launching.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"}
LOST = "another process of this run has ended or does not answer"


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.slow)])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("several")), request.param]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def nightly(*values: Any) -> list[Any]:
    """Values that only the many runs have."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def of_the_run(found: dict[str, Any], name: str) -> Any:
    if name not in found:
        pytest.skip("of the many runs")
    return found[name]


@pytest.mark.parametrize("stage", ["pretrain", "finetune", *nightly("gpt2", "distill")])
def test_any_number_of_processes_writes_the_bytes_of_one(found: dict[str, Any], stage: str) -> None:
    """With dropout, accumulation, batches of fewer sequences than parts and a best evaluation; whole models and shards.
    In all but the first process an attempt to write would have ended the run (`only_one_writes`)."""
    shas = of_the_run(found["same_bytes"], stage)
    assert len(shas) >= 2 and len(shas["1"]) == 64
    assert set(shas.values()) == {shas["1"]}, shas


def test_a_file_of_several_processes_is_verified_by_one(found: dict[str, Any]) -> None:
    ((code, said),) = found["same_bytes"]["verified"]
    assert code == 0 and "proven, 1 stage run again" in said


def test_the_same_batches_give_the_same_losses(found: dict[str, Any]) -> None:
    """Each number of processes cuts the batches in as many parts, so that only the order of the sums differs."""
    one, *several = found["losses"].values()
    assert [found["losses"][size]["parts"] for size in found["losses"]] == [1, 2, 4][: 1 + len(several)]
    assert len(one["loss"]) == 12 and one["loss"][0] > one["loss"][-1] + 0.1
    for other in several:
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["norm"] == pytest.approx(one["norm"], abs=1e-5)
        assert other["tokens"] == one["tokens"] and other["begins"] == one["begins"]  # one process has written the log
    assert several[0]["loss"] != one["loss"]  # or nothing was shared


def test_a_killed_run_goes_on_in_another_number_of_processes(found: dict[str, Any]) -> None:
    assert found["resumed"]
    for seen in found["resumed"].values():
        assert seen["codes"] == [1, -9] and seen["step"] == 4 and not seen["there"]
        assert seen["sha"] == seen["whole"] and not seen["left"]


@pytest.mark.parametrize("victim", [1, *nightly(0)])
def test_a_killed_process_ends_the_run_with_one_sentence(found: dict[str, Any], victim: int) -> None:
    ended = of_the_run(found["ends"], f"killed {victim}")
    (code, said) = ended[1 - victim]
    assert ended[victim][0] == -9 and code == 1
    assert said.count(LOST) == 1 and "resume from the last save" in said and "Traceback" not in said


def test_a_process_that_stands_still_is_not_waited_for_for_ever(found: dict[str, Any]) -> None:
    (code, said), _ = found["ends"]["stopped"]
    assert code == 1 and said.count(LOST) == 1


@pytest.mark.parametrize("victim", [1, *nightly(0)])
def test_all_stop_after_the_same_step_and_one_saves(found: dict[str, Any], victim: int) -> None:
    first, second, step = of_the_run(found["ends"], f"asked {victim}")
    assert first[0] == second[0] == 130 and step == 5
    assert [said.count("interrupted at step 5 of 7") for _, said in (first, second)] == [1, 0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "error: process 1 of 2: tokens.safetensors: no such file"),
        ("other", "tokens tokens.safetensors has other bytes"),
        ("typo", "no option --stpes; did you mean"),
        ("stdin", "can be read once only, and several processes read it"),
        ("not shared", "nlpkit tokens runs in one"),
        ("few", "2 processes divide 1 part of each batch"),
        ("odd", "parallel fsdp cannot divide 3 parts among 2 processes"),
    ],
)
def test_what_is_wrong_is_said_once(found: dict[str, Any], name: str, says: str) -> None:
    ended = found["ends"][name]
    said = "".join(text for _, text in ended)
    assert said.count("error:") == said.count(says) == 1, said
    assert {code for code, _ in ended} <= {2, 130} and 2 in {code for code, _ in ended}
    assert found["ends"]["left"] == []


def test_results_are_spread_in_order_for_any_number_of_items(found: dict[str, Any]) -> None:
    assert [code for code, _ in found["spreading"]["ended"]] == [0, 0, 0]
    assert found["spreading"]["ended"][1][1].splitlines()[-1] == "1 7 [1, 4, 6]"  # every third item; the last again


def test_torchrun_starts_them(tmp_path: Path) -> None:
    """The real one; options that torchrun has too come behind ``--``."""
    tokens = making.token_file(tmp_path / "tokens.safetensors", documents=10)
    options = {"n_layers": 1, "d_model": 16, "n_heads": 2, "max_len": 16, "batch_tokens": 64, "steps": 3}
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["pretrain", str(tokens), "-o", str(tmp_path / "two.safetensors"), *flags, "--log", str(tmp_path / "log")]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, "-m", "--", "nlpkit", *words, "--json"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads(done.stdout)  # one object: one process speaks
    here: dict[str, Any] = {**options, "parts": 2, "threads": 1}
    assert made["sha256"] == nlpkit.pretrain([tokens], tmp_path / "one.safetensors", **here)["sha256"]
    assert file_sha256(tmp_path / "two.safetensors") == made["sha256"]
    assert "Traceback" not in done.stderr
