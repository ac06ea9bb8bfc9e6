"""Multi-head attention over packed sequences (Vaswani et al. 2017, section 3.2).

Shapes: N tokens of a batch, B sequences in a run, T queries, S keys, H heads, D head width, M model width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nlpkit.layers.packing import Packing, Run


class Mask(Protocol):
    """Who sees whom, decided in one place. True means "may attend"."""

    def __call__(self, queries: int, keys: int) -> Tensor | bool:
        """A [T, S] mask; or a bool for the two kinds that need none: False "all", True "causal", T = S."""


class Full:
    """Every token sees every token of its sequence."""

    def __call__(self, queries: int, keys: int) -> Tensor | bool:
        return False


class Causal:
    """Every token sees itself and those before it; queries are the last of the keys."""

    def __call__(self, queries: int, keys: int) -> Tensor | bool:
        if queries == keys:
            return True
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) if queries > 1 else False


@dataclass
class Cache:
    """Keys and values of the tokens before, one pair a layer, [B, H, S, D]; all sequences have the same length."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        """S: tokens that were read already."""
        return self.keys[0].shape[2] if self.keys else 0

    def extend(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values; returns all of them."""
        if layer == len(self.keys):
            self.keys.append(k_BHTD)
            self.values.append(v_BHTD)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], k_BHTD], 2)
            self.values[layer] = torch.cat([self.values[layer], v_BHTD], 2)
        return self.keys[layer], self.values[layer]


class Attention(nn.Module):
    """query, key and value projections, attention inside each sequence, output projection.

    ``dropout`` is of the attention probabilities; it makes attention several times slower, and the presets keep it 0.
    """

    def __init__(self, d_model: int, n_heads: int, *, mask: Mask, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.n_heads, self.mask, self.dropout = n_heads, mask, dropout

    def forward(self, x_NM: Tensor, packing: Packing, *, layer: int = 0, cache: Cache | None = None) -> Tensor:
        q_NM, k_NM, v_NM = self.query(x_NM), self.key(x_NM), self.value(x_NM)
        runs = packing.runs
        if cache is not None and len(runs) != 1:
            raise AssertionError("a cache holds sequences of one length")
        parts = [self._attend(q_NM, k_NM, v_NM, run, layer, cache) for run in runs]
        out: Tensor = self.output(parts[0] if len(parts) == 1 else torch.cat(parts))
        return out

    def _attend(self, q_NM: Tensor, k_NM: Tensor, v_NM: Tensor, run: Run, layer: int, cache: Cache | None) -> Tensor:
        q_BHTD, k_BHTD, v_BHTD = self._split(q_NM, run), self._split(k_NM, run), self._split(v_NM, run)
        if cache is not None:
            k_BHTD, v_BHTD = cache.extend(layer, k_BHTD, v_BHTD)
        mask = self.mask(q_BHTD.shape[2], k_BHTD.shape[2])
        allowed = mask.to(q_NM.device) if isinstance(mask, Tensor) else None
        out_BHTD = scaled_dot_product_attention(
            q_BHTD, k_BHTD, v_BHTD, attn_mask=allowed, is_causal=mask is True,
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        return out_BHTD.transpose(1, 2).reshape(run.count * run.length, -1)

    def _split(self, x_NM: Tensor, run: Run) -> Tensor:
        part = x_NM[run.start : run.end]
        return part.view(run.count, run.length, self.n_heads, -1).transpose(1, 2)


