"""One vocabulary, the papers' and plain English: words that once stood for several things do not come back.

`place` was an index, an offset, a path and a rank; `found` and `made` were whatever a function returned. Names say what
a thing is: see CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "nlpkit").rglob("*.py"))
NAMES = {"place", "places", "found", "made", "asked", "room", "sight", "sights", "slope", "slopes"}
# What a model computes is a prediction, and its use is inference; "answer" is the fourth word of an analogy.
ANSWERS = {"answer", "answers", "answering"}
ANALOGIES = re.compile(r"nlpkit/(vectors/queries/|cli/vectors_analogy\.py)")
# Words of comments, docstrings, messages and help, with what stands for them.
WORDS = {
    r"whole numbers?": "integer",
    r"sights?": "mask, visibility",
    r"slopes?": "derivative, gradient",
    r"fmt: skip": "the formatter's form",
    r"8 bits": "int8",
}


def identifiers(tree: ast.AST) -> set[str]:
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            named.add(node.id)
        elif isinstance(node, ast.arg):
            named.add(node.arg)
        elif isinstance(node, ast.Attribute):
            named.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            named.add(node.name)
    return {name.lower().strip("_") for name in named}


def test_names_say_what_a_thing_is() -> None:
    wrong = []
    for path in FILES:
        text, name = path.read_text("utf-8"), path.relative_to(ROOT).as_posix()
        banned = NAMES if ANALOGIES.match(name) else NAMES | ANSWERS
        used = identifiers(ast.parse(text)) | set(path.stem.split("_"))
        wrong += [f"{name}: the name {word}" for word in sorted(used & banned)]
        if not any(re.search(rf"\b{word}\b", text) for word in WORDS):
            continue  # to cut all files into tokens takes seconds
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                wrong += [
                    f"{name}:{token.start[0]}: {word} ({better})"
                    for word, better in WORDS.items()
                    if re.search(rf"\b{word}\b", token.string)
                ]
    assert not wrong, "\n".join(wrong)
