"""Attention weights of a model, recorded while it reads a batch.

Attention is linear in its values, so its output for unit vectors as values are its weights: softmax(q k^T / sqrt(D)) I.
The model's own code computes them, with the positions, masks and scores of its family, and its outputs do not change.

Shapes: B sequences, H heads, T queries, S keys, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nlpkit.layers.attention import Attention


@contextmanager
def watching(model: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Record, inside the block, the weights of every `Attention` of a model, in the order of computation: its name in
    the model, and a tensor [B, H, T, S] for each run of equal lengths that it reads. So a layer's position is its
    depth, also where one block computes several layers. A model without attention gives an empty record."""
    record: list[tuple[str, Tensor]] = []
    parts = {name: part for name, part in model.named_modules() if isinstance(part, Attention)}
    for name, part in parts.items():
        part._attend = _recording(part._attend, name, record)  # type: ignore[method-assign]
    try:
        yield record
    finally:
        for part in parts.values():
            del part._attend  # uncovers the class's method again


def _recording(attend: Callable[..., Tensor], name: str, record: list[tuple[str, Tensor]]) -> Callable[..., Tensor]:
    def recorded(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, *rest: Any, **named: Any) -> Tensor:
        width, keys = v_BHSD.shape[3], k_BHSD.shape[2]
        parts = []
        for start in range(0, keys, width):  # as many unit vectors at a time as values are wide
            unit_SD = torch.zeros(keys, width, dtype=v_BHSD.dtype, device=v_BHSD.device)
            held = torch.arange(start, min(start + width, keys), device=v_BHSD.device)
            unit_SD[held, held - start] = 1
            parts.append(attend(q_BHTD, k_BHSD, unit_SD.expand_as(v_BHSD), *rest, **named)[..., : len(held)])
        record.append((name, torch.cat(parts, -1)))
        return attend(q_BHTD, k_BHSD, v_BHSD, *rest, **named)

    return recorded
