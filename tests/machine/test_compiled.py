"""Machine code is kept, and never outlives the source of anything that was compiled into it."""

import os
import subprocess
import sys

import numba
import pytest

from nlpkit.base import events
from nlpkit.machine import compiled

CALLER = """
from nlpkit.machine.compiled import compiled
import called

@compiled()
def caller(x):
    return called.called(x) + 1
"""
CALLED = """
from nlpkit.machine.compiled import compiled

@compiled(inline={inline!r})
def called(x):
    return {factor} * x
"""
RUN = "import caller; print(caller.caller(5), sum(caller.caller.stats.cache_hits.values()))"


def run(room, **environment):
    found = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=room, env={**found, **environment}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def room(tmp_path):
    found = tmp_path / "room"
    found.mkdir()
    (found / "caller.py").write_text(CALLER)
    (found / "called.py").write_text(CALLED.format(factor=2, inline="never"))
    return found


def test_a_change_in_another_file_is_seen(room):
    assert run(room) == ["11", "0"]
    assert run(room) == ["11", "1"]
    (room / "other.py").write_text("x = 1\n")
    assert run(room) == ["11", "1"]  # no compiled function stands in it
    (room / "called.py").write_text(CALLED.format(factor=3, inline="never"))
    assert run(room) == ["16", "0"]
    assert len(list((room / "__pycache__").glob("kernels-*"))) == 2


def test_where_the_code_lies(room, tmp_path):
    (room / "__pycache__").write_text("no folder can be made here")
    home = tmp_path / "home"
    assert run(room, HOME=str(home), XDG_CACHE_HOME="")[0] == "11"
    assert [path.name[:8] for path in (home / ".cache" / "nlpkit").iterdir()] == ["kernels-"]
    assert run(room, HOME=str(home), XDG_CACHE_HOME=str(tmp_path / "xdg"))[0] == "11"
    assert (tmp_path / "xdg" / "nlpkit").is_dir()
    assert run(room, NUMBA_CACHE_DIR=str(tmp_path / "given")) == ["11", "0"]
    assert run(room, NUMBA_CACHE_DIR=str(tmp_path / "given")) == ["11", "1"]
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "x")
    assert run(room, HOME=nowhere, XDG_CACHE_HOME=nowhere) == ["11", "0"]


def test_without_a_folder_a_function_works_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_places", lambda room: [])
    compiled._folder.cache_clear()
    said = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        function = compiled.compiled()(lambda x: x + 1)
        assert function(1) == 2
        compiled.compiled()(lambda x: x + 2)
    compiled._folder.cache_clear()
    assert len(said) == 1 and said[0].startswith("no folder can be written to keep compiled kernels in")


def test_other_users_of_numba_keep_their_folder(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/somewhere/else")
    monkeypatch.setattr(compiled, "_folder", lambda room: None)
    compiled.compiled()(lambda x: x)
    assert numba.config.CACHE_DIR == "/somewhere/else"


def test_old_code_is_removed(tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(compiled, "_places", lambda room: [tmp_path / "place"])
    seen = []
    for version in range(7):
        (room / "kernels.py").write_text(f"import numba  # {version}\n")
        compiled._folder.cache_clear()
        seen.append(compiled._folder(room))
        os.utime(seen[-1], (version, version))
    compiled._folder.cache_clear()
    assert set((tmp_path / "place").iterdir()) == set(seen[-4:])


def test_who_waits_for_the_compiler_is_told(monkeypatch):
    """Once for each function that is compiled, and not again; functions of others are not ours to tell of."""
    monkeypatch.setattr(compiled, "_folder", lambda room: None)
    heard = []

    def made(module):
        function = lambda x: x + 3  # noqa: E731
        function.__module__ = module
        return compiled.compiled()(function)

    ours, others = made("nlpkit.somewhere"), made("elsewhere")
    with events.listen(heard.append):
        assert [ours(1), ours(2), others(1)] == [4, 5, 4]
    (told,) = heard
    assert told["event"] == "progress" and told["label"] == "compiling for this processor, once:"
    assert told["done"] >= 1 and told["total"] is None


def test_kept_code_is_used_without_a_word(room):
    (room / "nlpkit").mkdir()
    for name in ("caller.py", "called.py"):
        text = (room / name).read_text().replace("import called\n", "from nlpkit.room import called\n")
        (room / name).write_text(text)
    code = (
        "import sys, importlib.util as u\n"
        "from nlpkit.base import events\n"
        "def load(name):\n"
        "    spec = u.spec_from_file_location('nlpkit.room.' + name, name + '.py')\n"
        "    module = u.module_from_spec(spec); sys.modules[spec.name] = module\n"
        "    spec.loader.exec_module(module)\n"
        "    return module\n"
        "import types; sys.modules['nlpkit.room'] = room = types.ModuleType('nlpkit.room')\n"
        "room.called = load('called'); heard = []\n"
        "with events.listen(heard.append):\n"
        "    assert load('caller').caller(5) == 11\n"
        "print(len(heard))"
    )
    told = [subprocess.run([sys.executable, "-c", code], cwd=room, capture_output=True, text=True, check=True).stdout
            for _ in range(2)]  # fmt: skip
    assert told == ["2\n", "0\n"]
