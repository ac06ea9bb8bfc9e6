"""The published small BERTs' sizes (Turc et al. 2019, "Well-Read Students Learn Better", table 1), and base (Devlin
et al. 2019): heads of 64, feed-forward 4 x d_model."""

from __future__ import annotations

from dataclasses import dataclass


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
