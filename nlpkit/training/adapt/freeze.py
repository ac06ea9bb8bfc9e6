"""What of a model stays as it is while the rest learns.

Frozen is always the bottom: the embeddings, then layer after layer (Howard and Ruder 2018, section 3.3, thaw from the
top). Nothing below the lowest layer that learns is kept for the backward, or has a gradient or moments.
"""

from __future__ import annotations

from nlpkit.base.errors import UserError
from nlpkit.layers.block import Stack
from nlpkit.models.base import Model


def freeze(model: Model, what: str | None) -> None:
    """Freeze "embeddings"; a number: the embeddings and so many layers; "all": the embeddings and all layers (with the
    last norm), so that a pooler and the classifier learn. None: nothing. Errors: anything else, more layers than there
    are."""
    if what is None:
        return
    stack = next(module for module in model.modules() if isinstance(module, Stack))
    layers = len(stack.layers)
    if not (what in ("embeddings", "all") or (what.isdecimal() and 1 <= int(what) <= layers)):
        raise UserError(
            f"freeze is {what!r}, and the model has {layers} layers",
            hint=f"valid: embeddings; a number of layers from below, 1 to {layers}; all",
        )
    frozen = [model.get_submodule("embeddings")]
    frozen += [stack] if what == "all" else list(stack.layers)[: 0 if what == "embeddings" else int(what)]
    for module in frozen:
        module.requires_grad_(False)
