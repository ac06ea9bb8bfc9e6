"""How a file is written: through links, under a name nobody can guess, with its permissions, and by one run alone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nlpkit.artifact import atomic, lock
from nlpkit.base.errors import RunError, UserError


def put(path: Path, data: bytes = b"new") -> None:
    atomic.check_target(path, force=True)
    with atomic.writing(path) as file:
        file.write(data)


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("store/real")
    (tmp_path / "second").symlink_to("link")
    put(tmp_path / "second")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "second").is_symlink()
    assert (tmp_path / "store" / "real").read_bytes() == b"new"
    (tmp_path / "dangling").symlink_to("store/to-come")
    with pytest.raises(UserError, match="exists already"):
        atomic.check_target(tmp_path / "link", force=False)
    atomic.check_target(tmp_path / "dangling", force=False)
    put(tmp_path / "dangling")
    assert (tmp_path / "store" / "to-come").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path / "store")) == ["real", "to-come"]
    assert sorted(os.listdir(tmp_path)) == ["dangling", "link", "second", "store"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/null", "/proc/self/fd/1", "fifo", "folder", "circle", "to-out"])
def test_what_is_no_file_is_refused_without_advice_to_force(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "to-out").symlink_to("/dev/stdout")
    for force in (True, False):
        with pytest.raises(UserError) as refused:
            atomic.check_target(tmp_path / name, force=force)
        assert "force" not in str(refused.value.hint) and "force" not in refused.value.what


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "victim").write_bytes(b"theirs")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".x.{'0' * 16}.partial").symlink_to("victim")
    (tmp_path / ".x.partial").symlink_to("victim")
    with pytest.raises(UserError, match="File exists"):
        put(tmp_path / "x")
    monkeypatch.undo()
    put(tmp_path / "x")
    (tmp_path / ".x.lock").symlink_to("victim")
    with pytest.raises(UserError, match="cannot write"), lock.only_run(tmp_path / "x"):
        pass
    assert (tmp_path / "victim").read_bytes() == b"theirs"


def test_the_mode_stays_and_the_umask_counts(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        put(tmp_path / "x")
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o444):
            (tmp_path / "x").chmod(mode)
            put(tmp_path / "x")
            assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    dead, other = tmp_path / f".x.{'a' * 16}.partial", tmp_path / f".y.{'a' * 16}.partial"
    for path in (dead, other, tmp_path / ".x.mine.partial"):
        path.write_bytes(b"half")
    with atomic.writing(tmp_path / "x") as living:
        living.write(b"new")
        atomic.clean(tmp_path / "x")
        assert Path(living.name).exists() and not dead.exists()
    assert sorted(os.listdir(tmp_path)) == sorted([".x.mine.partial", other.name, "x"])


def test_one_run_holds_a_target_and_its_death_lets_go(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("x")
    code = (
        "import sys, time; from pathlib import Path; from nlpkit.artifact.lock import only_run\n"
        "with only_run(Path('x')): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        for name in ("x", "link"):
            with pytest.raises(RunError, match="is being written by another run"), lock.only_run(tmp_path / name):
                pass
        with lock.only_run(tmp_path / "y"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert ".x.lock" in os.listdir(tmp_path)
    with lock.only_run(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == ["link"]


def test_many_runs_that_take_turns_are_never_two_at_once(tmp_path: Path) -> None:
    """The file is removed and made again all the time; nobody holds a lock on one that has no name any more."""
    code = """
import os, sys, time
from pathlib import Path
from nlpkit.artifact.lock import only_run
from nlpkit.base.errors import RunError
held = 0
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        with only_run(Path("x")):
            os.close(os.open("alone", os.O_CREAT | os.O_EXCL))
            held += 1
            os.unlink("alone")
    except RunError:
        pass
print(held)
"""
    runs = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(3)]
    assert all(int(run.communicate()[0]) > 0 for run in runs) and all(run.returncode == 0 for run in runs)
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nlpkit.base import events

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    said: list[str] = []
    monkeypatch.setattr("fcntl.flock", none)
    with events.listen(lambda record: said.append(record["text"])), lock.only_run(tmp_path / "x"):
        put(tmp_path / "x")
    assert len(said) == 1 and "no locks here" in said[0] and os.listdir(tmp_path) == ["x"]
