"""The position-wise feed-forward network (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import gelu, relu, silu

Activation = Callable[[Tensor], Tensor]


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU (Hendrycks and Gimpel 2016, section 2), as GPT-2 uses it."""
    return gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Activation] = {"gelu": gelu, "gelu-tanh": gelu_tanh, "relu": relu, "silu": silu}


class FeedForward(nn.Module):
    """``down(activation(up(x)))``."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)
        self.activation = activation

    def forward(self, x_ND: Tensor) -> Tensor:
        out: Tensor = self.down(self.activation(self.up(x_ND)))
        return out
