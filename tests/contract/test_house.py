"""The rules of the house (docs/architecture.md), each held by a test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nlpkit"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [str(path.relative_to(ROOT)) for path in FILES]

# Room -> the rooms it may not import. What is not named may.
_ABOVE = {"objectives", "tasks", "training", "decoding", "compression", "evaluation", "vectors", "reporting",
          "showcase", "cli"}  # fmt: skip
FORBIDDEN = {
    "layers": _ABOVE | {"models", "data", "tokenizers", "artifact", "config"},
    "models": _ABOVE,
    "objectives": _ABOVE - {"objectives"} | {"models"},
    "data": _ABOVE | {"models"},
    "tokenizers": _ABOVE | {"models", "layers"},
    "artifact": _ABOVE - {"vectors"} | {"layers"},  # export writes vectors too
}
HEAVY = {"torch", "numpy", "numba", "gensim", "transformers", "sklearn", "scipy", "pyarrow", "matplotlib"}


def imports(path: Path) -> list[tuple[str, int]]:
    """(module, line) of every import in a file, type-checking ones left out."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(child) for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" for child in ast.walk(node)
    }  # fmt: skip
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    path = ROOT / module
    parts = path.relative_to(PACKAGE).parts
    room = parts[0].removesuffix(".py")
    for name, line in imports(path):
        target = name.split(".")
        if target[0] == "nlpkit" and len(target) > 1:
            assert target[1] not in FORBIDDEN.get(room, set()), f"{module}:{line} imports {name}"
            if room not in ("cli", "__main__"):
                assert target[1] != "cli", f"{module}:{line}: only the command line knows itself"
        if target[0] in ("typer", "rich", "click"):
            assert room == "cli", f"{module}:{line} imports {name}: below cli nothing knows a terminal"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_has_one_idea(module: str) -> None:
    text = (ROOT / module).read_text("utf-8")
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    if text.strip():
        assert ast.get_docstring(tree), "a module begins by saying what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = (node.end_lineno or 0) - node.body[0].lineno
            assert body <= 90, f"{node.name} has {body} lines"
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            assert caught not in ("", "Exception"), f"line {node.lineno} catches everything"


def test_nothing_is_unfinished_or_pickled() -> None:
    words = re.compile(r"NotImplementedError|\b(?:TODO|FIXME|XXX)\b|import pickle\b|pickle\.|torch\.(?:load|save)\(")
    for path in FILES:
        found = words.search(path.read_text("utf-8"))
        assert not found, f"{path.name}: {found[0] if found else ''}"


def test_no_branch_on_a_models_name() -> None:
    names = re.compile(r"""(?:==|!=|\bin)\s*\(?\s*["'](?:bert|gpt2|gpt-2)["']""")
    for path in FILES:
        assert not names.search(path.read_text("utf-8")), path.name


def test_there_is_one_loop() -> None:
    """One place calls backward: the loop."""
    callers = [path for path in FILES if re.search(r"\.backward\(\)|autograd\.backward\(", path.read_text("utf-8"))]
    assert [path.relative_to(PACKAGE).as_posix() for path in callers] == ["training/loop.py"]


def test_the_package_imports_what_it_depends_on_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *optional["parquet"], *optional["plots"]]
    names = {re.split(r"[><=]", line)[0] for line in asked}
    imported = {name.split(".")[0] for path in FILES for name, _ in imports(path)} - sys.stdlib_module_names
    assert imported - {"nlpkit"} == {{"scikit-learn": "sklearn"}.get(name, name) for name in names}


def test_the_command_line_imports_nothing_heavy() -> None:
    """Parsing, help and completion of every command stay instant."""
    code = (
        "import sys\nfrom nlpkit.cli import app\nfor name in app.COMMANDS: app.load(name)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_recipes_are_the_packaged_ones() -> None:
    recipe = ROOT / "recipes" / "shakespeare.toml"
    assert recipe.read_bytes() == (PACKAGE / "demo" / "recipe.toml").read_bytes()
