"""Recipes of pre-training: named sets of options that were found by measuring (docs/recipes.md, benchmarks/
time_to_quality.py). A recipe says only what it changes; an option that is given comes before it, and what a run did is
in its file's provenance, option by option.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpkit.base.errors import choose
from nlpkit.training.options import PLAIN

Options = Mapping[str, Any]

# Recipe -> "" for every objective, and what is different with one of them.
RECIPES: dict[str, dict[str, Options]] = {
    "fast": {
        "": {
            "optimizer": "muon",
            "lr": 7e-3,
            "schedule": "trapezoid",
            "warmup_fraction": 0.05,
            "dropout": 0.0,
            "batch_tokens": 1024,
            "short_fraction": 0.7,
        },
        "mlm": {"mask_ratio": 0.3},
    },
}


def resolve(recipe: str | None, objective: str, given: Options) -> dict[str, Any]:
    """``given`` with what is None filled in: from the recipe for an ``objective`` (several are joined by +), else with
    what any training command does. Errors: an unknown recipe."""
    filled = dict(PLAIN)
    if recipe is not None:
        found = choose(RECIPES, recipe, field="recipe")
        for part in ("", *objective.split("+")):
            filled |= found.get(part, {})
    return {**given, **{name: value for name, value in filled.items() if given[name] is None}}
