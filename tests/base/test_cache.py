"""Where nlpkit keeps what it computed for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlpkit.base.cache import user_cache


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_cache.cache_clear()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("nlpkit.base.cache._TEMPORARY", ())
    monkeypatch.chdir(tmp_path)


def test_the_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "nlpkit"
    user_cache.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "nlpkit"


@pytest.mark.parametrize("base", ["~/.cache", "cache", "/proc/nlpkit"])
def test_what_is_no_path_of_the_user_is_not_used(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert user_cache() == tmp_path / "tmp" / f"nlpkit-{os.getuid()}"
    assert os.listdir(tmp_path) == ["tmp"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that nobody knows")
def test_an_unknown_user_without_a_home_writes_no_folder_called_tilde(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    os.chmod(tmp_path / "tmp", 0o1777)
    code = "import os, sys; os.setuid(54321); from nlpkit.base.cache import user_cache; print(user_cache())"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp")}
    code = code.replace("from nlpkit", f"os.chdir({str(tmp_path)!r}); from nlpkit", 1)
    code = "import nlpkit.base.cache; " + code  # read before the rights are given up
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "~" not in ended.stdout, ended
    assert "~" not in os.listdir(tmp_path)


def test_a_folder_that_another_could_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "~")
    planted = tmp_path / "tmp" / f"nlpkit-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert user_cache() != planted
    user_cache.cache_clear()
    planted.rmdir()
    planted.symlink_to(tmp_path / "elsewhere")  # dangling: nothing is made through it
    assert user_cache() != planted
    assert not (tmp_path / "elsewhere").exists()
