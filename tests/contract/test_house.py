"""The rules of the house (docs/architecture.md), each held by a test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nlpkit"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [str(path.relative_to(ROOT)) for path in FILES]

# The rooms, from the ground up: each may import those before it. docs/architecture.md says what is in them.
ROOMS = (
    "base",
    "measure",
    "machine",
    "kernels",
    "layers",
    "artifact",
    "tokenizers",
    "data",
    "models",
    "objectives",
    "tasks",
    "vectors",
    "exchange",
    "decoding",
    "training",
    "compression",
    "evaluation",
    "reporting",
    "stages",
    "cli",
)
TOP = {"__init__.py", "__main__.py", "_version.py", "py.typed"}
HEAVY = {
    "torch",
    "numpy",
    "numba",
    "gensim",
    "transformers",
    "tokenizers",
    "safetensors",
    "sklearn",
    "scipy",
    "pyarrow",
    "matplotlib",
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """(module, line) of every import in a file, those for types too."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def room(module: str) -> str:
    """The room of a dotted module or of a file's path in the package; "" for the top of the package."""
    parts = module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


@cache
def arrows() -> dict[str, set[str]]:
    """Module -> the modules of the package it imports, lazily or not, for types or not."""
    names = {module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module for module in MODULES}
    found: dict[str, set[str]] = {}
    for name, module in names.items():
        targets = set()
        for target, _ in imports(ROOT / module):
            while target not in names and "." in target:
                target = target.rpartition(".")[0]
            targets |= {target} & names.keys()
        found[name] = targets - {name}
    return found


def test_at_the_top_lie_three_files() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} <= TOP
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders == set(ROOMS)


def test_imports_point_downwards() -> None:
    wrong = []
    for module in MODULES:
        own = room(module)
        for name, line in imports(ROOT / module):
            other = room(name) if name.split(".")[0] == "nlpkit" and own else ""
            if other and ROOMS.index(other) > ROOMS.index(own):
                wrong.append(f"{module}:{line} imports {name}")
            if name.split(".")[0] in ("typer", "rich", "click") and own != "cli":
                wrong.append(f"{module}:{line} imports {name}: below cli nothing knows a terminal")
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph, done = arrows(), set[str]()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_picture_is_that_of_the_imports() -> None:
    """The arrows of the picture are the imports between rooms, without those that others imply."""
    direct = {name: set[str]() for name in ROOMS}
    for module, targets in arrows().items():
        if own := room(module):
            direct[own] |= {room(target) for target in targets} - {own, ""}
    below: dict[str, set[str]] = {}
    for name in ROOMS:
        below[name] = direct[name].union(*(below[other] for other in direct[name]))
    needed = {
        (name, other)
        for name in ROOMS
        for other in direct[name]
        if not any(other in below[between] for between in direct[name])
    }
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    drawn = {(above, other) for above, other in re.findall(r"^ +(\w+) --> (\w+)$", text, re.MULTILINE)}
    assert drawn == needed
    assert all(f"| `{name}/` |" in text for name in ROOMS)


def test_a_file_has_one_idea() -> None:
    wrong = []
    for module in MODULES:
        lines = len((ROOT / module).read_text("utf-8").splitlines())
        if lines > 400:
            wrong.append(f"{module} has {lines} lines")
        if lines and not ast.get_docstring(parsed(ROOT / module)):
            wrong.append(f"{module} does not begin by saying what it is")
        for node in ast.walk(parsed(ROOT / module)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = (node.end_lineno or 0) - node.body[0].lineno
                if body > 90:
                    wrong.append(f"{module}: {node.name} has {body} lines")
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                if caught in ("", "Exception"):
                    wrong.append(f"{module}:{node.lineno} catches everything")
    assert not wrong, "\n".join(wrong)


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


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """pytest imports them by that name alone, and leaves out the second."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))
