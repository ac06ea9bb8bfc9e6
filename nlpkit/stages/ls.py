"""nlpkit ls: models, objectives, tasks and the rest, by name.

The tables of the packages name modules, and a module ends with its description (FAMILY, KIND). The description is read
from the module's source, so that listing imports no torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from nlpkit.base.errors import choose
from nlpkit.models import FAMILIES
from nlpkit.models.sizes import SIZES, Size
from nlpkit.objectives import OBJECTIVES
from nlpkit.stages.defaults import MAX_LEN
from nlpkit.stages.recipes import RECIPES
from nlpkit.tasks import TASKS
from nlpkit.tokenizers import KINDS
from nlpkit.training.optimizers import OPTIMIZERS

Row = dict[str, Any]
VOCAB_SIZE = 8000  # the default of `tokenizer train`
_FIRST = re.compile(r"([^(:.]+?)(?: \(([^()]+)\))?[:.]")  # what it is (paper): more
_SAID = ("name", "title", "paper")  # the first fields of every description


def ls(kind: str | None = None) -> dict[str, list[Row]]:
    """The rows of ``kind`` (models, objectives, tasks, sizes, tokenizers, optimizers or recipes), or of all, by kind.

    Each row has ``name``; sizes have their shape, and the parameters of a BERT with the default vocabulary and length;
    recipes ``title`` and the ``options`` that they set; the others ``title`` and ``paper``. Errors: an unknown kind
    lists the valid ones.
    """
    if kind is not None:
        return {kind: choose(LISTS, kind, field="kind")()}
    return {name: rows() for name, rows in LISTS.items()}


def _described(table: Mapping[str, str], variable: str) -> Callable[[], list[Row]]:
    return lambda: [description(module, variable) for module in table.values()]


def description(module: str, variable: str) -> Row:
    """name, title and paper of a module's ``FAMILY = Family(...)`` or ``KIND = Kind(...)``."""
    for node in _source(module).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _names(node) == variable:
            fields = dict(zip(_SAID, node.value.args, strict=False))
            fields |= {str(item.arg): item.value for item in node.value.keywords}
            return {name: ast.literal_eval(fields[name]) for name in _SAID}
    raise LookupError(f"{module} has no {variable}")


def _names(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])


def _beginnings(table: Mapping[str, str]) -> list[Row]:
    """Title and paper from the docstring of a tokenizer's or an optimizer's module: "Title (paper): more"."""
    rows: list[Row] = []
    for name, target in table.items():
        text = ast.get_docstring(_source(target.partition(":")[0])) or ""
        match = _FIRST.match(" ".join(text.split()))
        assert match is not None, f"{target} does not begin with what it is"
        rows.append({"name": name, "title": match[1], "paper": match[2] or ""})
    return rows


def _source(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, f"the table names {module}, which does not exist"
    with open(spec.origin, encoding="utf-8") as file:
        return ast.parse(file.read())


def _sizes() -> list[Row]:
    return [
        {
            "name": name,
            "n_layers": size.n_layers,
            "d_model": size.d_model,
            "n_heads": size.n_heads,
            "d_ff": size.d_ff,
            "parameters": bert_parameters(size),
        }
        for name, size in SIZES.items()
    ]


def bert_parameters(size: Size, *, vocab_size: int = VOCAB_SIZE, max_len: int = MAX_LEN) -> int:
    """Parameters of a BERT of this size with its masked-LM head: embeddings and their norm; four projections, two
    feed-forward ones and two norms a block; pooler; the head's dense layer, norm and bias."""
    width, inner = size.d_model, size.d_ff
    embeddings = (vocab_size + max_len + 2 + 2) * width
    block = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    return embeddings + size.n_layers * block + 2 * (width + 1) * width + 2 * width + vocab_size


def _recipes() -> list[Row]:
    """The values of ``pretrain --recipe``; the options of one objective stand under its name."""
    return [
        {"name": name, "title": recipe.title, "options": {**recipe.options, **recipe.with_objective}}
        for name, recipe in RECIPES.items()
    ]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _described(FAMILIES, "FAMILY"),
    "objectives": _described(OBJECTIVES, "KIND"),
    "tasks": _described(TASKS, "KIND"),
    "sizes": _sizes,
    "tokenizers": lambda: _beginnings(KINDS),
    "optimizers": lambda: _beginnings(OPTIMIZERS),
    "recipes": _recipes,
}
