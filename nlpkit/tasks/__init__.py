"""The fine-tuning tasks: a file and a line of the table for each."""

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


# Tasks of imported models; no command trains them.
ELSEWHERE: dict[str, str] = {
    "score": "nlpkit.tasks.score",
}


def restored(config: Mapping[str, Any]) -> Task:
    """The task from ``config["task"]`` of a model. Errors: an unknown name lists the valid ones."""
    name = str(config.get("name", "classify"))
    description: Kind = import_module(choose({**TASKS, **ELSEWHERE}, name, field="task")).KIND
    return description.restore(config)


def kind(name: str) -> Kind:
    """The description of one task. Errors: an unknown name lists the valid ones."""
    description: Kind = import_module(choose(TASKS, name, field="task")).KIND
    return description
