"""A wheel brings compiled kernels along, and built twice it is the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_built_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """By the Makefile's own commands, with objects that need no compiler, under two umasks and at two times."""
    shas = set()
    for number, umask in enumerate(("022", "077")):
        place = tmp_path / str(number)
        ignored = shutil.ignore_patterns("__pycache__", "objects")
        subprocess.run(["sh", "-c", f"umask {umask}; mkdir {place}"], check=True)
        shutil.copytree(ROOT / "nlpkit", place / "nlpkit", ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"):
            shutil.copy(ROOT / name, place)
        objects = place / "nlpkit" / "machine" / "objects" / "x86-64-v3-linux"
        objects.mkdir(parents=True)
        (objects / "nlpkit.kernels.product_code-0").write_bytes(b"code")
        said = subprocess.run(
            ["make", "-n", "wheel", f"BIN={Path(sys.executable).parent}"],
            cwd=place,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        commands = said[said.index("rm -rf build dist") :]
        subprocess.run(["sh", "-ec", f"umask {umask}\n{commands}"], cwd=place, check=True)
        (wheel,) = (place / "dist").glob("*.whl")
        shas.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
        assert (
            "nlpkit/machine/objects/x86-64-v3-linux/nlpkit.kernels.product_code-0" in zipfile.ZipFile(wheel).namelist()
        )
    assert len(shas) == 1
