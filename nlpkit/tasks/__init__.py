"""The fine-tuning tasks: one file each, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlpkit.base.errors import choose

if TYPE_CHECKING:
    from nlpkit.tasks.base import Kind, Task

TASKS: dict[str, str] = {
    "classify": "nlpkit.tasks.classify",
}


# Of models that another tool taught; no command does.
ELSEWHERE: dict[str, str] = {
    "score": "nlpkit.tasks.score",
}


def restored(kept: Mapping[str, Any]) -> Task:
    """The task that a model's config keeps. Errors: an unknown name lists the valid ones."""
    name = str(kept.get("name", "classify"))
    found: Kind = import_module(choose({**TASKS, **ELSEWHERE}, name, field="task")).KIND
    return found.restore(kept)


def kind(name: str) -> Kind:
    """The description of one task. Errors: an unknown name lists the valid ones."""
    found: Kind = import_module(choose(TASKS, name, field="task")).KIND
    return found
