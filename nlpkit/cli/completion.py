"""Names for shell completion; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable


def _begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    from nlpkit.models import FAMILIES

    return _begin(FAMILIES, incomplete)


def sizes(incomplete: str) -> list[str]:
    from nlpkit.models.sizes import SIZES

    return _begin(SIZES, incomplete)


def objectives(incomplete: str) -> list[str]:
    """Also after a plus: ``mlm+n`` -> ``mlm+nsp``."""
    from nlpkit.objectives import OBJECTIVES

    before, plus, last = incomplete.rpartition("+")
    taken = before.split("+")
    return [f"{before}{plus}{name}" for name in _begin(OBJECTIVES, last) if name not in taken]


def optimizers(incomplete: str) -> list[str]:
    from nlpkit.training.optimizers import OPTIMIZERS

    return _begin(OPTIMIZERS, incomplete)


def schedules(incomplete: str) -> list[str]:
    from nlpkit.training.schedules import SCHEDULES

    return _begin(SCHEDULES, incomplete)


def recipes(incomplete: str) -> list[str]:
    from nlpkit.stages.recipes import RECIPES

    return _begin(RECIPES, incomplete)


def tasks(incomplete: str) -> list[str]:
    from nlpkit.tasks import TASKS

    return _begin(TASKS, incomplete)


def tokenizers(incomplete: str) -> list[str]:
    from nlpkit.tokenizers import KINDS

    return _begin(KINDS, incomplete)


def kinds(incomplete: str) -> list[str]:
    from nlpkit.stages.ls import LISTS

    return _begin(LISTS, incomplete)


def methods(incomplete: str) -> list[str]:
    from nlpkit.vectors import METHODS

    return _begin(METHODS, incomplete)


def losses(incomplete: str) -> list[str]:
    from nlpkit.vectors import LOSSES

    return _begin(LOSSES, incomplete)


def engines(incomplete: str) -> list[str]:
    return _begin(("nlpkit", "gensim"), incomplete)


def formats(incomplete: str) -> list[str]:
    from nlpkit.exchange.export import FORMATS

    return _begin(FORMATS, incomplete)


def projections(incomplete: str) -> list[str]:
    from nlpkit.vectors.queries.map import METHODS

    return _begin(METHODS, incomplete)


def vector_formats(incomplete: str) -> list[str]:
    from nlpkit.exchange.vector_formats import READ

    return _begin(READ, incomplete)


def poolings(incomplete: str) -> list[str]:
    return _begin(("pooler", "cls", "last", "mean", "max"), incomplete)
