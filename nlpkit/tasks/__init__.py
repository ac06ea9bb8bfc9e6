"""The fine-tuning tasks: one file each, one line each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nlpkit.base.errors import choose

if TYPE_CHECKING:
    from nlpkit.tasks.base import Kind

TASKS: dict[str, str] = {
    "classify": "nlpkit.tasks.classify",
}


def kind(name: str) -> Kind:
    """The description of one task. Errors: an unknown name lists the valid ones."""
    found: Kind = import_module(choose(TASKS, name, field="task")).KIND
    return found
