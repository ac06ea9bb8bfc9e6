"""Work in processes: results in order, errors that surface, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlpkit.base.errors import RunError, UserError
from nlpkit.base.parallel import in_order

_base: list[int] = []


def prepare(base: int) -> None:
    _base[:] = [base]


def work(item: int) -> tuple[int, int]:
    if item == 7:
        raise UserError("seven is not a number we like", where="list:7", hint="take eight")
    if item == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return item + _base[0], os.getpid()


def run(items: Iterator[int] | list[int], threads: int) -> list[tuple[int, int]]:
    return list(in_order(work, items, threads=threads, prepare=prepare, arguments=(100,)))


def test_results_come_in_order_from_any_number_of_processes() -> None:
    items = [0, 1, 2, 3, 4, 5, 6] * 3
    one, three = run(items, 1), run(items, 3)
    assert [value for value, _ in one] == [value for value, _ in three] == [100 + item for item in items]
    assert {pid for _, pid in one} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in three}


def test_no_item_and_one_item_need_no_process() -> None:
    assert run([], 3) == []
    assert run([5], 3) == [(105, os.getpid())]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_worker_is_the_error_of_the_run(threads: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(8):
            taken.append(item)
            yield item
        while True:  # what comes after an error is not read to its end
            taken.append(0)
            yield 0

    with pytest.raises(UserError) as caught:
        run(items(), threads)
    error = caught.value
    assert (error.what, error.where, error.hint) == ("seven is not a number we like", "list:7", "take eight")
    assert len(taken) < 20


def test_an_error_in_the_items_ends_the_run() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise UserError("is not UTF-8", where="file:4")

    with pytest.raises(UserError, match="file:4: is not UTF-8"):
        run(items(), 2)


def test_a_killed_worker_is_said() -> None:
    with pytest.raises(RunError, match="a worker process was killed"):
        run([1, 2, 9, 3, 4], 2)


def test_a_result_that_is_not_wanted_ends_the_workers() -> None:
    found = in_order(work, iter(lambda: 1, 2), threads=2, prepare=prepare, arguments=(0,))
    (_, pid), (_, other) = next(found), next(found)
    found.close()
    for worker in (pid, other):
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
print("main", flush=True)
from nlpkit.base.parallel import in_order
import test_parallel
for value, pid in in_order(test_parallel.work, iter(lambda: 1, 2), threads=2, prepare=test_parallel.prepare,
                           arguments=(1,)):
    print(pid, flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A script without ``if __name__ == "__main__"``, at work without end."""
    path = tmp_path / "script.py"
    path.write_text(PROGRAM.format(folder=str(Path(__file__).parent)))
    with subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.kill()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_it_leaves_no_worker(script: subprocess.Popen[str]) -> None:
    assert script.stdout is not None and script.stdout.readline() == "main\n"
    workers = {int(script.stdout.readline()) for _ in range(20)}
    script.kill()
    for _ in range(300):
        if all(map(gone, workers)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{workers} live on")


def test_a_script_is_not_run_again_and_an_interrupt_is_answered_once(script: subprocess.Popen[str]) -> None:
    assert script.stdout is not None
    assert script.stdout.readline() == "main\n" and script.stdout.readline().strip().isdigit()
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does: to workers too
    out, err = script.communicate(timeout=60)
    assert "main" not in out
    assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")


ELSEWHERE = """
import sys
from nlpkit.base.parallel import in_order
print(list(in_order(abs, [-1, 2, -3], threads=2)))
"""


@pytest.mark.parametrize("name", ["multiprocessing", "ctypes", "random", "signal", "_posixsubprocess", "pickle"])
def test_workers_run_no_code_of_the_current_folder(tmp_path: Path, name: str) -> None:
    """A file named as a module of the library must not be run because nlpkit was started beside it."""
    planted = "import pathlib\npathlib.Path(__file__).with_name('PWNED').touch()\nraise SystemExit(3)\n"
    (tmp_path / f"{name}.py").write_text(planted)
    done = subprocess.run([sys.executable, "-P", "-c", ELSEWHERE], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[1, 2, 3]\n", done.stderr
    assert not (tmp_path / "PWNED").exists()


def test_every_process_that_is_started_is_told_so() -> None:
    """Whatever starts another Python says -P or -I, or goes through nlpkit/base/parallel.py."""
    package = Path(sys.modules["nlpkit"].__file__ or "").parent
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        for start in range(text.count("sys.executable,")):
            after = text.split("sys.executable,")[start + 1]
            assert after.lstrip().startswith(('"-P"', '"-I"')), path
        if "import multiprocessing" in text or "ProcessPoolExecutor(" in text:
            assert path.name == "parallel.py"
