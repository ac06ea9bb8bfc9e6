"""Families that stand outside of the package: CONTRIBUTING's example, and one whose block computes several layers."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from nlpkit import models

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
NAMES = (*models.FAMILIES, "fnet", "shared")


def add(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Enter them in the table, by the two steps of CONTRIBUTING."""
    code = re.search(r"<!-- example: nlpkit/models/fnet\.py -->\n```python\n(.*?)```", TEXT, re.S)
    line = re.search(r'```python\n {4}"(\w+)": "([\w.]+)",\n```', TEXT)
    assert code and line
    path = folder / "fnet.py"
    path.write_text(code[1], "utf-8")  # step one: the file
    spec = importlib.util.spec_from_file_location(line[2], path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, line[2], module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(models.FAMILIES, line[1], line[2])  # step two: the line
    monkeypatch.setitem(models.FAMILIES, "shared", "shared_family")
