"""What was multiplied: floating-point operations, counted by the products themselves when they are called.

A product of M x D by D x E is 2 M D E operations, attention two such products in its forward and four in its backward
(scores that a backward makes again are no work that the model asks for). So no family, objective or technique needs a
formula; what is computed again by checkpointing counts, what nobody asks for does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

_counted = 0


def count(operations: int) -> None:
    """Add operations that are computed now. Compiled code counts nothing, since it would be compiled again for every
    value of the counter; `nlpkit.training.compiling` counts for it."""
    global _counted
    if torch.compiler.is_compiling():
        return
    _counted += operations


def with_backward(operations: int, *factors: Tensor) -> None:
    """Add a product that autograd differentiates: as much again for each factor that needs a gradient."""
    count(operations * (1 + sum(x.requires_grad for x in factors) * torch.is_grad_enabled()))


def counted() -> int:
    """All operations of this process so far; what lies between two calls is a difference."""
    return _counted
