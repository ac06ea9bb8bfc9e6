"""Token, position and segment embeddings. Shapes: N tokens, D width."""

from __future__ import annotations

from torch import Tensor, nn

from nlpkit.base.errors import UserError
from nlpkit.layers.dropout import Dropout
from nlpkit.layers.view import View


class Embeddings(nn.Module):
    """The sum of token, position and (where the family has segments) segment embedding; then a norm where the family
    has one, then dropout (Devlin et al. 2019, section 3, figure 2)."""

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        max_len: int,
        *,
        segments: int = 0,
        norm: nn.Module | None = None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_len, d_model)
        self.segment = nn.Embedding(segments, d_model) if segments else None
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(self, tokens_N: Tensor, view: View, segments_N: Tensor | None = None) -> Tensor:
        """[N, D]. Errors: a sequence longer than the table of positions."""
        longest, most = max(view.keys.lengths, default=0), self.position.num_embeddings
        if longest > most:
            raise UserError(f"a sequence has {longest:,} tokens; the model reads at most {most:,}")
        positions_N = view.positions.to(tokens_N.device)
        x_ND: Tensor = self.token(tokens_N) + self.position(positions_N)
        if self.segment is not None:
            x_ND = x_ND + self.segment(tokens_N.new_zeros(tokens_N.shape) if segments_N is None else segments_N)
        if self.norm is not None:
            x_ND = self.norm(x_ND)
        out: Tensor = self.dropout(x_ND)
        return out
