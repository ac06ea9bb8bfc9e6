"""The published small BERTs' sizes (Turc et al. 2019, "Well-Read Students Learn Better", table 1), and base (Devlin
et al. 2019): heads of 64, feed-forward 4 x d_model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlpkit.base.errors import UserError, choose

if TYPE_CHECKING:
    from nlpkit.models.base import Config, Family


@dataclass(frozen=True)
class Size:
    n_layers: int
    d_model: int

    @property
    def n_heads(self) -> int:
        return self.d_model // 64

    @property
    def d_ff(self) -> int:
        return 4 * self.d_model


SIZES: dict[str, Size] = {
    "tiny": Size(2, 128),
    "mini": Size(4, 256),
    "small": Size(4, 512),
    "medium": Size(8, 512),
    "base": Size(12, 768),
}


def config_for(
    family: Family,
    size: str,
    *,
    vocab_size: int,
    max_len: int,
    dropout: float,
    n_layers: int | None = None,
    d_model: int | None = None,
    n_heads: int | None = None,
    d_ff: int | None = None,
) -> Config:
    """A family's config at a size; the optional arguments override the size. Errors: a width that the heads do not
    divide."""
    chosen = choose(SIZES, size, field="size")
    width = d_model or chosen.d_model
    heads = n_heads or max(1, width // 64)
    if width % heads:
        raise UserError(f"d-model {width} cannot be divided by {heads} heads", hint="d-model must be a multiple")
    return family.config(
        vocab_size=vocab_size,
        d_model=width,
        n_layers=n_layers or chosen.n_layers,
        n_heads=heads,
        d_ff=d_ff or 4 * width,
        max_len=max_len,
        dropout=dropout,
    )
