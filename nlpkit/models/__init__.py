"""The model families: a file and a line of the table for each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nlpkit.base.errors import choose

if TYPE_CHECKING:
    from nlpkit.models.base import Family

FAMILIES: dict[str, str] = {
    "bert": "nlpkit.models.bert",
    "roberta": "nlpkit.models.roberta",
    "gpt2": "nlpkit.models.gpt2",
}


def family(name: str) -> Family:
    """A family by name. Errors: an unknown name lists the valid ones."""
    module = import_module(choose(FAMILIES, name, field="model"))
    description: Family = module.FAMILY
    return description
