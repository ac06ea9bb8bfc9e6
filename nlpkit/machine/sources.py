"""What a module's kernels depend on: the source of every function and constant they reach, read without importing any.

A digest of whole files would make every kernel stale when something unrelated in its file changes. Here a name leads to
the statements that bind it or change it at the top of its module, these to the names in them, and an import to the
names of another module. Python's own modules, numba, llvmlite and numpy are not followed, nor is the choice of a level:
callers of `digest` add it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_OUTSIDE = frozenset({*sys.stdlib_module_names, "numba", "numpy", "llvmlite"})
_BESIDE = "nlpkit.machine.level"
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Module:
    """A file, its statements by the names they bind or change, and where imported names come from."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.text = name, path.read_text("utf-8")
        self.lines = self.text.splitlines(keepends=True)
        self.statements: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str]] = {}  # name -> module, name in it ("": the module itself)
        for statement in ast.parse(self.text).body:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    self.imports[alias.asname or whole] = (whole, "")
            elif isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    self.imports[alias.asname or alias.name] = (str(statement.module), alias.name)
            elif isinstance(statement, _FUNCTION):
                self.statements.setdefault(statement.name, []).append(statement)
            elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                for name in {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}:
                    if _changes(statement, name):
                        self.statements.setdefault(name, []).append(statement)

    def code(self, statement: ast.stmt) -> str:
        """Its text, without its docstring."""
        first = min([statement.lineno, *(item.lineno for item in getattr(statement, "decorator_list", ()))])
        lines = list(range(first, (statement.end_lineno or first) + 1))
        if isinstance(statement, _FUNCTION) and ast.get_docstring(statement, clean=False) is not None:
            document = statement.body[0]
            lines = [line for line in lines if not document.lineno <= line <= (document.end_lineno or 0)]
        return "".join(self.lines[line - 1] for line in lines)


def _changes(statement: ast.stmt, name: str) -> bool:
    """Whether a statement that is no definition may bind a name. Of an assignment its targets say so; any other may."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return any(isinstance(node, ast.Name) and node.id == name for part in targets for node in ast.walk(part))
    return True


def reached(module: str, names: Iterable[str]) -> dict[tuple[str, str], str]:
    """(module, name) -> text, of what these names of a module reach."""
    texts: dict[tuple[str, str], str] = {}
    waiting = [(module, name) for name in names]
    while waiting:
        here, name = waiting.pop()
        parsed = _module(here)
        if parsed is None or (here, name) in texts:
            continue
        if name == "":
            texts[here, name] = parsed.text
            waiting += [(here, other) for other in (*parsed.statements, *parsed.imports)]
        elif name in parsed.statements:
            texts[here, name] = "".join(parsed.code(statement) for statement in parsed.statements[name])
            for statement in parsed.statements[name]:
                waiting += _mentioned(parsed, statement)
        elif name in parsed.imports:
            waiting.append(_resolved(*parsed.imports[name]))
    return texts


def _mentioned(module: _Module, statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """(module, name) of each name in a statement. Of an imported module only the named attributes count."""
    bases = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target, inner = _resolved(*module.imports.get(node.value.id, (module.name, node.value.id)))
            if inner == "":
                bases.add(id(node.value))
                yield _resolved(target, node.attr)
        elif isinstance(node, ast.Name) and id(node) not in bases:
            yield module.name, node.id


def _resolved(module: str, name: str) -> tuple[str, str]:
    """Replace (package, name) by (module, "") where the name is a module of the package."""
    if name and module.partition(".")[0] not in _OUTSIDE and _module(f"{module}.{name}") is not None:
        return f"{module}.{name}", ""
    return module, name


@cache
def _module(name: str) -> _Module | None:
    """None: it is outside, or no module."""
    if name.partition(".")[0] in _OUTSIDE or name == _BESIDE:
        return None
    path = _path(name)
    return None if path is None else _Module(name, path)


@cache
def _path(name: str) -> Path | None:
    """A module's file. Python only locates the top package: to locate more it would import packages."""
    top, *rest = name.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    if not rest:
        return origin
    if origin.name != "__init__.py":
        return None
    stem = origin.parent.joinpath(*rest)
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def entries(module: str) -> list[str]:
    """The names of a module's kernels, by their decorator."""
    parsed = _module(module)
    if parsed is None:
        return []
    parts = [part for statements in parsed.statements.values() for part in statements]
    return sorted(
        part.name
        for part in parts
        if isinstance(part, ast.FunctionDef)
        and any(isinstance(item, ast.Name) and item.id == "kernel" for item in part.decorator_list)
    )


def digest(module: str, more: Iterable[str], names: Iterable[str] | None = None) -> str:
    """A digest of everything that a module's kernels (or ``names``) reach, and of ``more``."""
    texts = sorted(reached(module, entries(module) if names is None else names).items())
    parts = [part for (where, name), text in texts for part in (where, name, text)]
    return hashlib.sha256("\0".join([*parts, *more]).encode()).hexdigest()[:32]
