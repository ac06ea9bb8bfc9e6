"""Shared by all tests: where the helpers of other tests lie, and a quiet environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# They take longest: begun first, so that no worker waits at the end for another that has just begun one of them.
FIRST = (
    "distributed/test_distributed.py",
    "bytes/test_stages.py",
    "bytes/test_kill.py",
    "stages/test_distill.py",
    "cli/test_hostile.py",
    "stages/test_tune.py",
    "artifact/test_fuzz.py",
    "stages/test_pretrain.py",
    "stages/test_finetune.py",
    "contract/test_finetune_flags.py",
    "training/test_memory.py",
    "machine/test_native.py",
    "bytes/test_portable.py",
)

sys.path.insert(0, str(Path(__file__).parent))
# No test may fail because the machine is busy.
hypothesis.settings.register_profile("suite", deadline=None, max_examples=50)
hypothesis.settings.load_profile("suite")
os.fsync = lambda handle: None  # it guards against a loss of power, which no test has, and takes half of a small run
# What was compiled is kept, also where the person's environment says otherwise: else each worker rewrites the asserts
# of all files again, and each process that a test starts compiles the program.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Two tests at a time, each with two threads: one that waits for another must not spin on the core which the other
# needs. It changes no byte.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others in their order."""
    here = Path(__file__).parent
    order = {here / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of the person who runs the tests may reach a test."""
    for name in list(os.environ):
        if name.startswith("NLPKIT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where a test does not ask for more: small models gain nothing from threads."""
    from nlpkit.machine.threads import use_threads

    monkeypatch.setattr("nlpkit.machine.threads.default_threads", lambda: 1)
    with use_threads(1):
        yield
