"""Recipes of pre-training: named sets of options that were found by measuring (docs/recipes.md, benchmarks/
time_to_quality.py). A recipe holds only what it changes; an option on the command line overrides it, and the
file's provenance records every option of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlpkit.base.errors import choose

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """``options`` for every objective, and those that are added ``with_objective``."""

    title: str
    options: Options
    with_objective: Mapping[str, Options]


RECIPES: dict[str, Recipe] = {
    "fast": Recipe(
        "Least time to a given loss of a small model",
        {
            "optimizer": "muon",
            "lr": 1.5e-3,
            "schedule": "trapezoid",
            "warmup_fraction": 0.05,
            "dropout": 0.0,
            "batch_tokens": 1024,
            "short_fraction": 0.7,
        },
        {"mlm": {"mask_ratio": 0.3}},
    ),
}


def options_of(recipe: str | None, objective: str) -> dict[str, Any]:
    """The options that a recipe sets for an ``objective`` (several are joined by +); none without a recipe. Errors: an
    unknown recipe."""
    if recipe is None:
        return {}
    chosen = choose(RECIPES, recipe, field="recipe")
    added = [chosen.with_objective.get(part, {}) for part in objective.split("+")]
    return {name: value for options in (chosen.options, *added) for name, value in options.items()}
