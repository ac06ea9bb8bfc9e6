"""Kernels of word vectors are kept as machine code and loaded without numba; where that fails numba does the work."""

import subprocess
import sys

import numpy as np
import pytest

from nlpkit.machine import native
from nlpkit.machine.native import Entry

WORD2VEC = "nlpkit.vectors.word2vec.word2vec"


def shares(call):
    """A table of Walker's method, as a kernel fills it."""
    share = np.array([0.2, 2.4, 0.9, 0.5])
    other = np.arange(4)
    assert call(share, other, np.empty(4, np.int64), np.empty(4, np.int64)) == 0
    return share.tolist(), other.tolist()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_training_needs_no_compiler_once_it_has_compiled(tmp_path):
    """numba is imported by the first run at most."""
    (tmp_path / "text.txt").write_text("a b c d e f a b c\n" * 200)
    code = (
        "import sys; from nlpkit.stages.vectors_train import train\n"
        "from pathlib import Path\n"
        "train(Path('text.txt'), Path('v'), dim=8, min_count=1, threads=2, force=True)\n"
        "print('numba' in sys.modules)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_kept_code_gives_what_numba_gives(cache):
    expected = shares(Entry(WORD2VEC, "fill")._through_numba())
    assert shares(Entry(WORD2VEC, "fill")) == expected
    (kept,) = cache.glob("native-word2vec-*")
    before = kept.read_bytes()
    assert shares(Entry(WORD2VEC, "fill")) == expected and native._kept(kept)
    kept.write_bytes(before[:-9] + b"something")  # is compiled anew
    assert shares(Entry(WORD2VEC, "fill")) == expected and native._kept(kept)


def test_numba_does_the_work_where_nothing_can_be_kept_or_loaded(cache, monkeypatch):
    expected = shares(Entry(WORD2VEC, "fill")._through_numba())
    monkeypatch.setattr(native, "_TRY_FILE", "raise SystemExit(1)")
    assert shares(Entry(WORD2VEC, "fill")) == expected
    assert shares(Entry(WORD2VEC, "fill")) == expected  # the file that says so is there now
    monkeypatch.setattr(native, "_place", lambda *given: None)
    assert shares(Entry(WORD2VEC, "fill")) == expected


def test_arrays_that_do_not_lie_together_are_refused():
    with pytest.raises(TypeError, match="contiguous"):
        Entry(WORD2VEC, "fill")(np.zeros(8)[::2], np.arange(4), np.arange(4), np.arange(4))


def test_a_kernel_that_would_need_numba_is_refused_when_it_is_compiled(cache, tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text(
        "import numpy as np\nfrom nlpkit.machine.compiled import compiled\n"
        "@compiled()\ndef room(a):\n    return len(np.unique(a))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="without numba"):
        Entry("needy", "room")(np.zeros(4))
