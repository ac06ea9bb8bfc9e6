"""Freeze the lower part of a model while the rest is trained.

Parts are frozen from below: the embeddings, then layer after layer (Howard and Ruder 2018, section 3.3, unfreeze from
the top). Nothing below the lowest trainable layer is saved for the backward, or has a gradient or moments.
"""

from __future__ import annotations

from nlpkit.base.errors import UserError
from nlpkit.layers.block import stacks
from nlpkit.models.base import Model


def freeze(model: Model, what: str | None) -> None:
    """Freeze "embeddings"; a number N: the embeddings and the first N layers; "all": the embeddings, all layers and the
    last norm (a pooler and the classifier are still trained). None: nothing. A block that computes several layers
    counts once: it can only be frozen in all of them. Errors: anything else, more layers than there are, a model whose
    layers are not one `Stack` on ``embeddings``."""
    if what is None:
        return
    all_stacks = stacks(model)
    if len(all_stacks) != 1 or not hasattr(model, "embeddings"):
        raise UserError(
            f"freeze is {what!r}, and this model is not one stack of blocks on embeddings", hint="leave out --freeze"
        )
    blocks = [all_stacks[0].layers[which] for which in dict.fromkeys(all_stacks[0].order)]  # from below
    if not (what in ("embeddings", "all") or (what.isdecimal() and 1 <= int(what) <= len(blocks))):
        uses = len(all_stacks[0].order)
        shared = f" (that compute {uses})" if uses > len(blocks) else ""
        raise UserError(
            f"freeze is {what!r}, and the model has {len(blocks)} layers{shared}",
            hint=f"valid: embeddings; a number of layers from below, 1 to {len(blocks)}; all",
        )
    frozen = [model.get_submodule("embeddings")]
    frozen += [all_stacks[0]] if what == "all" else blocks[: 0 if what == "embeddings" else int(what)]
    for module in frozen:
        module.requires_grad_(False)
