"""The pre-training objectives: one file each, one line each. They combine: ``mlm+nsp``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlpkit.base.errors import UserError, choose

if TYPE_CHECKING:
    from nlpkit.objectives.base import Kind, Objective, Vocabulary

OBJECTIVES: dict[str, str] = {
    "mlm": "nlpkit.objectives.mlm",
    "nsp": "nlpkit.objectives.nsp",
    "clm": "nlpkit.objectives.clm",
}


def kind(name: str) -> Kind:
    """The description of one objective. Errors: an unknown name lists the valid ones."""
    description: Kind = import_module(choose(OBJECTIVES, name, field="objective")).KIND
    return description


def build(names: str, vocabulary: Vocabulary, options: Mapping[str, Any]) -> Objective:
    """The objective called ``mlm`` or ``mlm+nsp``; ``options`` are the command's, each objective takes its own."""
    from nlpkit.objectives.base import Combined

    parts = names.split("+")
    if len(set(parts)) != len(parts):
        raise UserError(f'objective "{names}" names one objective twice')
    built = [kind(part).build(vocabulary, options) for part in parts]
    return built[0] if len(built) == 1 else Combined(built)
